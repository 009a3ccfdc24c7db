"""Step decoding: the prompt once into a key-value cache, then passes that each run one or more steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tomas.model.batch import END, REFUSE, SHORT_TOKENS, STEP, TEXT
from tomas.model.bindings import Bindings, result_last, use_all
from tomas.model.choosable import Choosable
from tomas.model.drafted import Drafted, DraftedStep, ModeProposal
from tomas.model.edges import likely_edges
from tomas.model.example import PlanningInput, StepModes
from tomas.model.heads import HIDDEN
from tomas.model.layout import layout_of, positions_of, visible
from tomas.model.mode_tensors import build_mode_tensors
from tomas.model.network import PlannerNetwork
from tomas.model.plan_tensors import Steps, build_plan_tensors, sources_of, values_of
from tomas.model.precedents import precedent_scores
from tomas.model.prompt import build_prompt
from tomas.model.reading import Reading
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer

__all__ = ["AHEAD", "ChooseModes", "Decoder", "GiveModes", "decode", "first_guess"]

GiveModes = Callable[[Sequence[DraftedStep]], Sequence[StepModes]]
"""From drafted steps to the modes of each."""
ChooseModes = Callable[[Sequence[DraftedStep], Sequence[StepModes], Sequence[Sequence[float]]], Sequence[int]]
"""From steps, their modes and the probability of each mode to one mode of each step."""

AHEAD = 8
"""Steps that are guessed beside the next one."""
_BOUND = 0.5


class Decoder:
    """One request being planned.

    The caller puts the network in evaluation mode and holds ``torch.inference_mode``; :func:`decode` does both.
    """

    first: Reading
    """Before the first step."""
    present: Reading
    """At the last position that was run."""

    def __init__(
        self,
        network: PlannerNetwork,
        tokenizer: TextTokenizer,
        given: PlanningInput,
        *,
        repeats: bool = False,
        begin: Sequence[int] = (),
    ) -> None:
        """Run the prompt.

        :param repeats: whether a tool may be chosen again.
        :param begin: steps that are probably the first; they are run in the same pass, and chosen as far as
            :meth:`plan` would choose them.
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
        self._choosable = Choosable(given, repeats=repeats)
        self._said: dict[int, list[float]] = {}
        """What the pointer said last after so many steps, of tools that may not be chosen yet, too: for guesses."""
        self._cache = network.backbone.new_cache()
        # The last of several positions of a plan is where its end would stand, one behind the steps before it.
        layout = layout_of(self._prompt, 1 + len(begin))
        counts = torch.full((1,), max(0, len(begin) - 1), dtype=torch.long, device=device)
        parts = [self._panels.prompt, network.start_embeds(self._prompt)]
        if begin:
            index = torch.tensor([list(begin)], device=device)
            parts.append(network.step_embeds(self._panels, index))
        positions = positions_of(self._prompt, layout, counts)
        states = network.decode_states(
            torch.cat(parts, dim=1), visible(self._prompt, layout, counts), positions, self._cache
        )
        length = self._layout.length
        self._states, self._place = states[:, :length], int(positions[0, length - 1])
        readings = self._read(states[:, length - 1 :], [tuple(begin[:n]) for n in range(len(begin) + 1)])
        most, kept = network.config.model.limits.max_steps, 0
        while kept < len(begin) and readings[kept].wanted(kept, most) == begin[kept]:
            kept += 1
        if kept < len(begin):
            self._cache.crop(kept - len(begin))
        self._place += kept
        self.first, self.present, self._begun = readings[0], readings[kept], readings[:kept]
        self.chosen += begin[:kept]
        self._steps = [states[:, length : length + kept]] if kept else []

    @property
    def gate(self) -> Tensor:
        """Logits of the gate at the present position, (4,)."""
        return self.present.gate

    @property
    def tools(self) -> Tensor:
        """Logits of the candidates at the present position, (K,)."""
        return self.present.tools

    def choose(self, tool: int) -> None:
        """Take a candidate as the next step, and feed it back."""
        self._take([tool], 1 + len(self.chosen))

    def plan(self, most: int, *, ahead: int = AHEAD) -> list[Reading]:
        """Choose greedily until the gate wants the end; the only declared result comes last.

        Steps that probably follow are run in the same pass as the next one, and those are kept that would have been
        chosen after the ones before (speculative decoding: Leviathan, Kalman and Matias 2023). What is planned does
        not depend on what is guessed; what is computed does, in its last bits.

        :param most: steps that there may be, those that were begun with among them.
        :param ahead: how many are guessed at most; 0 runs every step alone.
        :return: the readings by which the steps were chosen, in their order.
        """
        readings = list(self._begun)
        while (tool := self.present.wanted(len(self.chosen), most)) is not None:
            room = min(ahead, most - len(self.chosen) - 1)
            readings += self._take([tool, *self._guess(tool, room)], most)
        return self._settled(readings)

    def plan_all(self, most: int) -> list[Reading]:
        """Choose greedily while anything may be chosen, whatever the gate says: all are steps, in unknown order.

        :param most: steps that there may be.
        :return: the readings by which the steps were chosen, in their order.
        """
        readings: list[Reading] = []
        while self.present.selectable and len(self.chosen) < most:
            readings.append(self.present)
            self.choose(int(self.present.tools.argmax()))
        return self._settled(readings)

    def finish(
        self,
        modes: GiveModes | None,
        choose: ChooseModes | None = None,
        *,
        parents: Sequence[Sequence[int]] | None = None,
    ) -> list[DraftedStep]:
        """Bind the chosen steps; confidences are 1, to be filled in.

        :param modes: the modes of the steps once these are known, or none where a step has no place to run; None
            asks for no allocation.
        :param choose: which mode of each step is proposed, by their probabilities; None: the likeliest.
        :param parents: of each step, where the graph is known; None: what the edge pointer says, and what is read.
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
        # As plain numbers: to index a tensor takes microseconds.
        cards = [self.given.candidates[tool] for tool in self.chosen]
        blind = [not card.inputs and not card.outputs for card in cards]
        waited = likely_edges(outputs.edges[0].sigmoid().tolist(), blind)
        bindings = self._bindings(plan, outputs.bindings[0].sigmoid().tolist(), tensors.fits[0].tolist())
        values = outputs.arguments[0].tolist()
        steps = []
        for s, tool in enumerate(self.chosen):
            read = {source.step for port in bindings[s] for source in port if source.step >= 0}
            arguments = self._arguments(tool, values[s])
            before = sorted(read.union(waited[s])) if parents is None else parents[s]
            steps.append(DraftedStep(tool, 1.0, tuple(before), bindings[s], arguments))
        found = modes(steps) if modes is not None else []
        return self._propose(steps, found, states, choose) if found else steps

    def explain(self) -> str:
        """The explanation, greedily; empty where the gate wants none after the end."""
        network = self.network
        state = self.feed(network.end_embeds(1))
        if int(self._read(state, [self.chosen], ended=True)[0].gate.argmax()) != TEXT:
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

    def _settled(self, readings: list[Reading]) -> list[Reading]:
        """Feed the chosen steps again, in one pass, where the declared result is to be last; their readings."""
        order = result_last(self.given, self.chosen)
        if order == sorted(order):
            return readings
        count = len(self.chosen)
        self._cache.crop(-count)
        self._place -= count
        self.chosen = [self.chosen[step] for step in order]
        index = torch.tensor([self.chosen], device=self.network.device)
        self._steps = [self.feed(self.network.step_embeds(self._panels, index))]
        self.present = self._read(self._steps[0][:, -1:], [tuple(self.chosen)])[0]
        self.passes += 1
        return [readings[step] for step in order]

    def _take(self, tools: Sequence[int], most: int) -> list[Reading]:
        """Run steps in one pass; keep the first, and of the others those wanted. The readings that chose them."""
        begun = tuple(self.chosen)
        index = torch.tensor([tools], device=self.network.device)
        states = self.feed(self.network.step_embeds(self._panels, index))
        self.passes += 1
        readings = self._read(states, [(*begun, *tools[: n + 1]) for n in range(len(tools))])
        kept = 1
        while kept < len(tools) and readings[kept - 1].wanted(len(begun) + kept, most) == tools[kept]:
            kept += 1
        if kept < len(tools):
            self._cache.crop(kept - len(tools))
            self._place -= len(tools) - kept
        before = [self.present, *readings[: kept - 1]]
        self.present = readings[kept - 1]
        self.chosen += tools[:kept]
        self._steps.append(states[:, :kept])
        return before

    def _guess(self, tool: int, count: int) -> list[int]:
        """Steps that probably follow ``tool``: as a precedent goes on, else as the pointer said.

        Where an earlier pass has looked at a position already, after steps that were not all kept, what it said
        there is nearer than what it says now.
        """
        begun = [*self.chosen, tool]
        for _ in range(count):
            free = [k for k, may in enumerate(self._choosable.after(begun)) if may]
            if not free:
                break
            known = self._by_precedent(begun)
            said = self._said.get(len(begun), self._said[len(self.chosen)])
            begun.append(known if known in free else max(free, key=said.__getitem__))
        return begun[len(self.chosen) + 1 :]

    def _by_precedent(self, begun: Sequence[int]) -> int | None:
        """The next step of the likeliest precedent that began with these."""
        held = tuple(begun)
        going = [k for k in self.given.precedents if len(k.tools) > len(held) and k.tools[: len(held)] == held]
        return max(going, key=lambda k: k.weight).tools[len(held)] if going else None

    def _read(self, states: Tensor, chosen: Sequence[Sequence[int]], *, ended: bool = False) -> list[Reading]:
        """Read positions (1, n, hidden) of the plan.

        :param chosen: per position, the steps up to it.
        :param ended: whether END stands there.
        """
        device = self.network.device
        free = torch.tensor([self._choosable.after(steps) for steps in chosen])
        selectable = free.to(device)[None]
        precedent = self._precedent(chosen, ended=ended).to(device)[None]
        contextual = self._states[:, self._layout.slice("tools")]
        every = torch.ones_like(selectable)
        covered = self._panels.coverage.after(chosen)
        said = self.network.tool_logits(states, contextual, self._panels, every, precedent, covered)
        self._said |= zip(map(len, chosen), said[0].tolist(), strict=True)
        tools = said.masked_fill(~selectable, HIDDEN)
        gate = self.network.gate_logits(states, tools, self._panels, selectable, precedent, covered)
        rows = zip(gate[0].cpu(), tools[0].cpu(), free.any(dim=1).tolist(), strict=True)
        return [Reading(*row) for row in rows]

    def _precedent(self, chosen: Sequence[Sequence[int]], *, ended: bool) -> Tensor:
        count = len(self.given.candidates)
        if ended or not self.given.precedents:
            return torch.zeros(len(chosen), count + 1)
        known = self.given.precedents
        return torch.from_numpy(np.stack([precedent_scores(known, steps, count) for steps in chosen]))

    def _bindings(self, plan: Steps, chances: list[list[list[float]]], fits: list[list[list[bool]]]) -> Bindings:
        sources = [source for source, _, _ in sources_of(self.given, plan)]
        found = []
        for s, tool in enumerate(plan.tools):
            ports = []
            for q, port in enumerate(self.given.candidates[tool].inputs):
                chance, fit = chances[s][q], fits[s][q]
                taken = [n for n in range(len(sources)) if fit[n] and chance[n] > _BOUND]
                # Without inputs in the request a port may be left open: that input is still to be given.
                if not taken and port.required and self.given.inputs and any(fit):
                    taken = [_best(chance)]
                ports.append(tuple(sources[n] for n in taken))
            found.append(tuple(ports))
        return use_all(found, self.given, plan.tools, sources, chances, fits)

    def _arguments(self, tool: int, logits: list[list[float]]) -> tuple[tuple[str, str], ...]:
        card = self.given.candidates[tool]
        values = values_of(card, self.given.task, self.network.config.model.limits.max_values)
        chosen = [_best(logits[i]) for i in range(len(values))]
        return tuple(
            (card.arguments[i].name, values[i][v].text) for i, v in enumerate(chosen) if 0 < v < len(values[i])
        )

    def _propose(
        self,
        steps: list[DraftedStep],
        modes: Sequence[StepModes],
        states: Tensor,
        choose: ChooseModes | None,
    ) -> list[DraftedStep]:
        tensors = build_mode_tensors([self.given], [modes], [[step.parents for step in steps]], self.network.config)
        tensors = tensors.to(self.network.device)
        mask = torch.ones(1, len(steps), dtype=torch.bool, device=self.network.device)
        logits, corrections = self.network.allocate(states, mask, tensors, self._panels)
        rows = logits[0].softmax(dim=-1).tolist()
        chances = [tuple(row[: len(step.modes)]) for row, step in zip(rows, modes, strict=True)]
        factors = corrections[0].exp().tolist()
        picks = choose(steps, modes, chances) if choose is not None else [_best(chance) for chance in chances]
        proposed = []
        for s, (step, pick) in enumerate(zip(steps, picks, strict=True)):
            need, factor = modes[s].modes[pick].need, factors[s][pick]
            cores, memory, share, gpu = (need[r] * factor[r] for r in range(4))
            proposal = ModeProposal(pick, chances[s], (cores, memory, share, gpu))
            proposed.append(replace(step, proposal=proposal))
        return proposed


def decode(
    network: PlannerNetwork,
    tokenizer: TextTokenizer,
    given: PlanningInput,
    *,
    max_steps: int | None = None,
    modes: GiveModes | None = None,
    choose: ChooseModes | None = None,
    explain: bool = False,
    repeats: bool = False,
    every: bool = False,
    ahead: int = AHEAD,
) -> Drafted:
    """Plan one request greedily.

    :param max_steps: at most so many steps; None takes ``model.limits.max_steps``, which is the most in any case.
    :param modes: gives the modes of the drafted steps, for the allocation pass; None asks for none.
    :param choose: as in :meth:`Decoder.finish`.
    :param explain: whether the explanation is written as well, of a refusal too.
    :param repeats: whether a tool may be chosen more than once.
    :param every: whether every candidate is a step, and only their graph is asked for.
    :param ahead: as in :meth:`Decoder.plan`.
    :raises DataError: the request exceeds ``model.limits``.
    """
    if network.training:  # Else the encoded texts of earlier requests would be forgotten.
        network.eval()
    most = network.config.model.limits.max_steps
    most = most if max_steps is None else min(most, max_steps)
    with torch.inference_mode():
        begin = () if every else first_guess(given, min(ahead, most))
        decoder = Decoder(network, tokenizer, given, repeats=repeats, begin=begin)
        refusal = float(decoder.first.gate[[STEP, END, REFUSE]].softmax(dim=0)[2])
        readings = decoder.plan_all(most) if every else decoder.plan(most, ahead=ahead)
        chances = [(reading.tools / float(network.temperature)).softmax(dim=0) for reading in readings]
        steps = decoder.finish(modes, choose)
        steps = [replace(s, confidence=float(row[s.tool])) for s, row in zip(steps, chances, strict=True)]
        explanation = decoder.explain() if explain else ""
    return Drafted(tuple(steps), not steps, refusal, explanation, decoder.passes)


def first_guess(given: PlanningInput, most: int) -> tuple[int, ...]:
    """The steps that a plan probably begins with: those of the likeliest precedent; none where there is none."""
    known = max(given.precedents, key=lambda precedent: precedent.weight, default=None)
    return known.tools[:most] if known is not None else ()


def _best(values: Sequence[float]) -> int:
    """The place of the largest, of several the first."""
    return max(range(len(values)), key=values.__getitem__)
