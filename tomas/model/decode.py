"""Step decoding: the prompt once into a key-value cache, then one pass per step; the graph after the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tomas.model.batch import END, REFUSE, SHORT_TOKENS, STEP, TEXT
from tomas.model.drafted import Drafted, DraftedStep, ModeProposal
from tomas.model.example import PlanningInput, Source, StepModes
from tomas.model.layout import layout_of, positions_of, visible
from tomas.model.mode_tensors import build_mode_tensors
from tomas.model.network import PlannerNetwork
from tomas.model.plan_tensors import Steps, bindable, build_plan_tensors, sources_of, values_of
from tomas.model.precedents import precedent_scores
from tomas.model.prompt import build_prompt
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer

__all__ = ["Decoder", "decode"]

_BOUND = 0.5


class Decoder:
    """One request being planned. ``gate`` and ``tools`` are the logits at the present position.

    The caller puts the network in evaluation mode and holds ``torch.inference_mode``; :func:`decode` does both.
    """

    gate: Tensor
    """(4,)."""
    tools: Tensor
    """(K,); what may not be chosen lies at -1e4."""

    def __init__(
        self, network: PlannerNetwork, tokenizer: TextTokenizer, given: PlanningInput, *, repeats: bool = False
    ) -> None:
        """Run the prompt.

        :param repeats: whether a tool may be chosen again.
        :raises DataError: the request exceeds ``model.limits``.
        """
        self.network, self.tokenizer, self.given, self.repeats = network, tokenizer, given, repeats
        self.chosen: list[int] = []
        self.passes = 1
        device = network.device
        long, short = TextTable(network.config.model.tool_encoder.max_tokens), TextTable(SHORT_TOKENS)
        prompt, self._tasks = build_prompt([given], tokenizer, network.config, long, short)
        self._prompt = prompt.to(device)
        self._panels = network.panels(
            self._prompt, long.tokens(tokenizer).to(device), short.tokens(tokenizer).to(device)
        )
        self._layout = layout_of(self._prompt)
        none = torch.zeros(1, dtype=torch.long, device=device)
        self._cache = network.backbone.new_cache()
        embeds = torch.cat([self._panels.prompt, network.start_embeds(self._prompt)], dim=1)
        positions = positions_of(self._prompt, self._layout, none)
        self._states = network.decode_states(
            embeds, visible(self._prompt, self._layout, none), positions, self._cache
        )
        self._place = int(positions[0, -1])
        self._steps: list[Tensor] = []
        self._read(self._states[:, -1:])

    def choose(self, tool: int) -> None:
        """Take a candidate as the next step, and feed it back."""
        self.chosen.append(tool)
        index = torch.tensor([[tool]], device=self.network.device)
        state = self.feed(self.network.step_embeds(self._panels, index))
        self.passes += 1
        self._steps.append(state)
        self._read(state)

    def finish(self, modes: Callable[[Sequence[DraftedStep]], Sequence[StepModes]] | None) -> list[DraftedStep]:
        """Bind the chosen steps; confidences are 1, to be filled in.

        :param modes: the modes of the steps once these are known; None asks for no allocation.
        """
        if not self.chosen:
            return []
        plan = Steps(tuple(self.chosen))
        device = self.network.device
        short = TextTable(SHORT_TOKENS)
        most = self.network.config.model.limits.max_values
        tensors = build_plan_tensors(
            [self.given], [plan], self._tasks, short, max_values=most, repeats=self.repeats
        ).to(device)
        texts = self.network.left.encode(short.tokens(self.tokenizer).to(device), self.network.backbone.embedding)
        panels = replace(self._panels, short=texts.vectors)
        states = torch.cat(self._steps, dim=1)
        outputs = self.network.step_outputs(
            states,
            self._states[:, self._layout.slice("request")],
            self._states[:, self._layout.slice("task")],
            panels,
            tensors,
        )
        edges = outputs.edges[0].sigmoid().cpu()
        bindings = self._bindings(plan, outputs.bindings[0].sigmoid().cpu(), tensors.fits[0].cpu())
        steps = []
        for s, tool in enumerate(self.chosen):
            read = {source.step for port in bindings[s] for source in port if source.step >= 0}
            waited = {j for j in range(s) if float(edges[s, j]) > _BOUND}
            arguments = self._arguments(tool, outputs.arguments[0, s].cpu())
            steps.append(DraftedStep(tool, 1.0, tuple(sorted(read | waited)), bindings[s], arguments))
        return steps if modes is None else self._propose(steps, modes(steps), states)

    def explain(self) -> str:
        """The explanation, greedily; empty where the gate wants none after the end."""
        network = self.network
        state = self.feed(network.end_embeds(1))
        self._read(state, ended=True)
        if int(self.gate.argmax()) != TEXT:
            return ""
        written: list[int] = []
        for _ in range(network.config.model.limits.max_text):
            token = int(network.backbone.logits(state)[0, -1].argmax())
            if token == self.tokenizer.end_id:
                break
            written.append(token)
            index = torch.tensor([[token]], device=network.device)
            state = self.feed(network.backbone.embedding(index).float())
        return self.tokenizer.decode(written).strip()

    def feed(self, embeds: Tensor) -> Tensor:
        """Run further positions (1, n, hidden), each of which sees all before it; their states, (1, n, hidden)."""
        count, before = embeds.shape[1], self._cache.get_seq_length()
        mask = torch.ones(1, count, before + count, dtype=torch.bool, device=embeds.device).tril(before)
        positions = torch.arange(self._place + 1, self._place + 1 + count, device=embeds.device)[None]
        self._place += count
        return self.network.decode_states(embeds, mask, positions, self._cache)

    def _read(self, state: Tensor, *, ended: bool = False) -> None:
        selectable = self._selectable().to(self.network.device)[None, None]
        contextual = self._states[:, self._layout.slice("tools")]
        precedent = self._precedent(ended=ended).to(self.network.device)[None, None]
        tools = self.network.tool_logits(state, contextual, self._panels, selectable, precedent)
        self.gate = self.network.gate_logits(state, tools, self._panels, selectable, precedent)[0, 0].cpu()
        self.tools = tools[0, 0].cpu()
        self.selectable = bool(selectable.any())

    def _selectable(self) -> Tensor:
        cards = self.given.candidates
        at_hand = {media for _, media, _ in self.given.inputs}
        at_hand |= {port.media_type for tool in self.chosen for port in cards[tool].outputs}
        free = [not self.given.inputs or bindable(card, at_hand) for card in cards]
        if not self.repeats:
            for tool in self.chosen:
                free[tool] = False
        return torch.tensor(free)

    def _precedent(self, *, ended: bool) -> Tensor:
        count = len(self.given.candidates)
        if ended or not self.given.precedents:
            return torch.zeros(count + 1)
        return torch.from_numpy(precedent_scores(self.given.precedents, self.chosen, count))

    def _bindings(self, plan: Steps, chances: Tensor, fits: Tensor) -> list[tuple[tuple[Source, ...], ...]]:
        sources = [source for source, _, _ in sources_of(self.given, plan)]
        found = []
        for s, tool in enumerate(plan.tools):
            ports = []
            for q, port in enumerate(self.given.candidates[tool].inputs):
                taken = [n for n in range(len(sources)) if fits[s, q, n] and float(chances[s, q, n]) > _BOUND]
                # Without inputs in the request a port may be left open: that input is still to be given.
                if not taken and port.required and self.given.inputs and bool(fits[s, q].any()):
                    taken = [int(chances[s, q].argmax())]
                ports.append(tuple(sources[n] for n in taken))
            found.append(tuple(ports))
        return found

    def _arguments(self, tool: int, logits: Tensor) -> tuple[tuple[str, str], ...]:
        card = self.given.candidates[tool]
        values = values_of(card, self.given.task, self.network.config.model.limits.max_values)
        chosen = [int(logits[i].argmax()) for i in range(len(values))]
        return tuple(
            (card.arguments[i].name, values[i][v].text) for i, v in enumerate(chosen) if 0 < v < len(values[i])
        )

    def _propose(self, steps: list[DraftedStep], modes: Sequence[StepModes], states: Tensor) -> list[DraftedStep]:
        tensors = build_mode_tensors([self.given], [modes], [[step.parents for step in steps]], self.network.config)
        tensors = tensors.to(self.network.device)
        mask = torch.ones(1, len(steps), dtype=torch.bool, device=self.network.device)
        logits, corrections = self.network.allocate(states, mask, tensors, self._panels)
        chances = logits[0].softmax(dim=-1).cpu()
        factors = corrections[0].exp().cpu()
        proposed = []
        for s, step in enumerate(steps):
            count = len(modes[s].modes)
            best = int(chances[s, :count].argmax())
            need = modes[s].modes[best].need
            cores, memory, share, gpu = (need[r] * float(factors[s, best, r]) for r in range(4))
            proposal = ModeProposal(best, tuple(chances[s, :count].tolist()), (cores, memory, share, gpu))
            proposed.append(replace(step, proposal=proposal))
        return proposed


def decode(
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    given: PlanningInput,
    *,
    max_steps: int | None = None,
    modes: Callable[[Sequence[DraftedStep]], Sequence[StepModes]] | None = None,
    explain: bool = False,
    repeats: bool = False,
) -> Drafted:
    """Plan one request greedily.

    :param max_steps: at most so many steps; None takes ``model.limits.max_steps``, which is the most in any case.
    :param modes: gives the modes of the drafted steps, for the allocation pass; None asks for none.
    :param explain: whether the explanation is written as well, of a refusal too.
    :param repeats: whether a tool may be chosen more than once.
    :raises DataError: the request exceeds ``model.limits``.
    """
    network.eval()
    most = network.config.model.limits.max_steps
    most = most if max_steps is None else min(most, max_steps)
    with torch.inference_mode():
        decoder = Decoder(network, tokenizer, given, repeats=repeats)
        refusal = float(decoder.gate[[STEP, END, REFUSE]].softmax(dim=0)[2])
        confidences: list[float] = []
        while _kind(decoder, most) == STEP:
            chances = (decoder.tools / float(network.temperature)).softmax(dim=0)
            tool = int(decoder.tools.argmax())
            confidences.append(float(chances[tool]))
            decoder.choose(tool)
        steps = decoder.finish(modes)
        steps = [replace(step, confidence=sure) for step, sure in zip(steps, confidences, strict=True)]
        explanation = decoder.explain() if explain else ""
    return Drafted(tuple(steps), not steps, refusal, explanation, decoder.passes)


def _kind(decoder: Decoder, most: int) -> int:
    """What the gate wants next, of what is possible here."""
    if not decoder.selectable or len(decoder.chosen) >= most:
        return END
    other = END if decoder.chosen else REFUSE
    return STEP if float(decoder.gate[STEP]) >= float(decoder.gate[other]) else other
