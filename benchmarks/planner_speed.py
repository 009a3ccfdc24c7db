"""Step decoding against plans written as JSON: the same backbone, the same prompt in the same cache, the same plan.

``.venv/bin/python -m benchmarks.planner_speed`` plans ten steps over 30 tools with the shipped weights. Requests
are generated, of wordings and tools that training did not see, and ask for just ten steps. The planner chooses what
it likes; its gate is held open until the tenth step, so that a plan which it would have ended early counts in full.
This draft is what the other ways write:

- steps: step decoding as it plans, the next steps guessed and run together; pointers for tools, edges, bindings and
  arguments, one parallel pass for allocations;
- single steps: the same without guesses, a pass per step;
- compact JSON: ``[["tool",[edges],mode],…]`` under a grammar, tokens without a choice fed together with the next
  (jump-forward);
- plain JSON: keys, ids and amounts spelled out, one pass per token.

The tokens of JSON are given (forced), so that it says the same plan at once, and its tokenizer is trained on the
very texts. With ``--config`` in place of a checkpoint, weights are random and the steps are given, too: a guess
would mean nothing, and steps are run singly. The explanation is left out of all. Times are processor time of one
thread. Every request is planned once before, so that the texts of its tools are known to all ways.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import llguidance
import numpy as np
import torch
from llguidance import TokenizerWrapper

from tomas.config import shared_file
from tomas.model.batch import STEP
from tomas.model.checkpoint import load_checkpoint
from tomas.model.config import LimitsConfig, load_config
from tomas.model.decode import AHEAD, Decoder, decode
from tomas.model.example import ModeCard, PlanningExample, PlanningInput, StepModes
from tomas.model.heads import Gate
from tomas.model.network import PlannerNetwork
from tomas.model.prior import LexicalPrior, Prior, load_prior
from tomas.model.tokenizer import TextTokenizer, load_pretrained_tokenizer, train_tokenizer
from tomas.neural.checkpoints import SHIPPED
from tomas.neural.sketch import with_precedents
from tomas.tools.registry import Registry
from tomas.training.generate import specs_of
from tomas.training.generate.examples import Generated, Generator
from tomas.training.generate.modes import draw_modes, input_sizes

_MOST_GENERATED = 20_000
_MODES = 12


@dataclass(frozen=True)
class Model:
    """What plans.

    :ivar free: whether it drafts freely, with weights that were trained; else its steps are given.
    """

    network: PlannerNetwork
    tokenizer: TextTokenizer
    prior: Prior
    free: bool

    def seen(self, given: PlanningInput) -> PlanningInput:
        """The request with what the prior knows of it; in an order of tools that says nothing."""
        cards = tuple(sorted(given.candidates, key=lambda card: card.name))
        read = replace(given, candidates=cards, retrieval=self.prior.scores(given.task, cards))
        return with_precedents(self.prior, read)


@dataclass(frozen=True)
class Job:
    """A request and the plan that is to come out."""

    given: PlanningInput
    modes: tuple[StepModes, ...]
    tools: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]
    chosen: tuple[int, ...]

    def compact(self) -> str:
        """Names, edges, modes."""
        rows = [
            [self.given.candidates[tool].name, [parent + 1 for parent in parents], mode]
            for tool, parents, mode in zip(self.tools, self.parents, self.chosen, strict=True)
        ]
        return json.dumps(rows, separators=(",", ":"))

    def plain(self) -> str:
        """As a model without a grammar is commonly asked to write it."""
        steps = []
        for index, (tool, parents, mode) in enumerate(zip(self.tools, self.parents, self.chosen, strict=True)):
            card = self.modes[index].modes[mode]
            cores, memory, share, gpu = card.need
            steps.append(
                {
                    "id": f"s{index + 1}",
                    "tool": self.given.candidates[tool].name,
                    "depends_on": [f"s{parent + 1}" for parent in parents],
                    "worker_class": self.given.classes[card.class_index],
                    "allocation": {
                        "cpu_cores": round(cores, 2),
                        "cpu_mem_gb": round(memory, 2),
                        "gpu_sm": round(share, 2),
                        "gpu_mem_gb": round(gpu, 2),
                    },
                }
            )
        return json.dumps({"steps": steps})

    def grammar(self) -> str:
        """Of :meth:`compact`, in the Lark dialect of llguidance: any plan of that many steps."""
        names = " | ".join(json.dumps(json.dumps(card.name)) for card in self.given.candidates)
        count = len(self.tools)
        lines = [
            'start: "[" ' + ' "," '.join(f"step_{number}" for number in range(1, count + 1)) + ' "]"',
            f"tool: {names}",
            f"mode: /({'|'.join(str(mode) for mode in reversed(range(_MODES)))})/",
        ]
        for number in range(1, count + 1):
            earlier = "|".join(str(step) for step in range(number - 1, 0, -1))
            edges = f"/\\[(({earlier})(,({earlier})){{0,{number}}})?\\]/" if number > 1 else '"[]"'
            lines.append(f'step_{number}: "[" tool "," edges_{number} "," mode "]"')
            lines.append(f"edges_{number}: {edges}")
        return "\n".join(lines) + "\n"


def jobs(
    count: int, steps: int, tools: int, seed: int, limits: LimitsConfig, model: Model | None = None
) -> list[Job]:
    """Generated requests of so many steps over so many tools; their plan is what ``model`` drafts, or given."""
    generator = Generator(specs_of(Registry.load()), seed=seed, split="test" if model is not None else None)
    found: list[Job] = []
    spare: list[PlanningInput] = []
    for number in itertools.count():
        if len(found) == count:
            break
        if number > _MOST_GENERATED:
            raise SystemExit(f"Of {number} requests, {len(found)} came out with {steps} steps.")
        made = generator.generate(number)
        example = made.example
        spare = [*spare[-20:], example.given]
        asked = [step.tool for step in example.target.steps]
        if len(asked) != steps or len(set(asked)) < steps:
            continue
        if len(example.given.inputs) + len(example.given.outputs) > limits.max_inputs:
            continue
        given = _over(example, spare, tools)
        if len(given.candidates) == tools:
            rng = Random(number)  # noqa: S311  (no secret)
            modes = _modes(made, steps, rng)
            if model is None:
                job = _given(replace(example, given=given), modes, rng)
            else:
                job = _drafted(model, model.seen(given), modes)
            found += [job] if len(job.tools) == steps else []
            print(f"\r{len(found)} of {count} requests", end="", flush=True)
    print()
    return found


def _over(example: PlanningExample, spare: Sequence[PlanningInput], tools: int) -> PlanningInput:
    """The request with the tools of its answer first and others up to ``tools``, in an order of its own."""
    cards = [example.given.candidates[step.tool] for step in example.target.steps]
    seen = {card.name for card in cards}
    for card in (card for given in (example.given, *reversed(spare)) for card in given.candidates):
        if len(cards) < tools and card.name not in seen:
            cards.append(card)
            seen.add(card.name)
    return replace(
        example.given, candidates=tuple(cards), retrieval=np.zeros(len(cards), np.float32), precedents=()
    )


def _modes(made: Generated, steps: int, rng: Random) -> tuple[StepModes, ...]:
    found = []
    for law, size in zip(made.laws, input_sizes(made.example, made.laws), strict=True):
        drawn = list(draw_modes(law, size, made.fleet, rng))
        while drawn and len(drawn) < _MODES:
            other = drawn[len(drawn) % len(drawn) - 1]
            drawn.append(ModeCard(other.class_index, other.need, other.p50_ms * 1.1, other.p90_ms * 1.1))
        found.append(StepModes(tuple(drawn[:_MODES])))
    offered = [item for item in found if item.modes]
    return tuple(offered[number % len(offered)] for number in range(steps))


def _given(example: PlanningExample, modes: tuple[StepModes, ...], rng: Random) -> Job:
    parents = tuple(step.parents for step in example.target.steps)
    chosen = tuple(rng.randrange(_MODES) for _ in modes)
    return Job(example.given, modes, tuple(range(len(modes))), parents, chosen)


def _drafted(model: Model, given: PlanningInput, modes: tuple[StepModes, ...]) -> Job:
    drafted = decode(
        model.network, model.tokenizer, given, max_steps=len(modes), modes=lambda steps: modes[: len(steps)]
    )
    return Job(
        given,
        modes,
        tuple(step.tool for step in drafted.steps),
        tuple(step.parents for step in drafted.steps),
        tuple(step.proposal.mode for step in drafted.steps if step.proposal is not None),
    )


def by_steps(model: Model, job: Job, *, ahead: int) -> int:
    """Plan by steps; the number of passes."""
    decoder = Decoder(model.network, model.tokenizer, job.given)
    if model.free:
        decoder.plan(len(job.modes), ahead=ahead)
        if tuple(decoder.chosen) != job.tools:
            raise SystemExit("The same request was planned otherwise.")
    else:
        for tool in job.tools:
            decoder.choose(tool)
    decoder.finish(lambda _: job.modes)
    return decoder.passes + 1  # the allocation pass, though it is a smaller one


class JsonWriter:
    """Writes a given text with the network's backbone after the same prompt."""

    def __init__(self, model: Model, written: TextTokenizer) -> None:
        """:param written: the tokenizer of the JSON."""
        self.network, self.tokenizer = model.network, model.tokenizer
        self.constraint = llguidance.LLTokenizer(TokenizerWrapper(_Vocabulary(written, model.network)))

    def write(self, job: Job, text: str, grammar: str | None) -> int:
        """Write ``text``; the number of passes.

        :param grammar: tokens that it leaves no choice about are fed together; None: a pass per token.
        """
        decoder = Decoder(self.network, self.tokenizer, job.given)
        states = None
        passes = 1
        matcher = None
        if grammar is not None:
            matcher = llguidance.LLMatcher(
                self.constraint, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0
            )
            if matcher.is_error():
                raise ValueError(matcher.get_error())
        pending: list[int] = []
        left = text.encode()
        while left:
            forced = matcher.compute_ff_tokens() if matcher is not None else []
            if matcher is not None and forced:
                matcher.consume_tokens(forced)
                pending += forced
                left = self._without(left, forced)
                continue
            if pending:
                states = self._feed(decoder, pending)
                passes += 1
            # The choice itself: logits over the vocabulary, and the mask where there is a grammar.
            if states is not None:
                self.network.backbone.logits(states[:, -1:])
            token = self._next(left, matcher)
            if matcher is not None:
                matcher.compute_bitmask()
                matcher.consume_token(token)
            pending = [token]
            left = self._without(left, [token])
        if pending:
            self._feed(decoder, pending)
            passes += 1
        return passes

    def _feed(self, decoder: Decoder, ids: Sequence[int]) -> torch.Tensor:
        index = torch.tensor([list(ids)], device=self.network.device)
        return decoder.feed(self.network.backbone.embedding(index).float())

    def _next(self, left: bytes, matcher: llguidance.LLMatcher | None) -> int:
        ids = self.constraint.tokenize_bytes(left)
        token = int(ids[0])
        if matcher is None or matcher.validate_tokens([token]):
            return token
        for size in range(len(self.constraint.decode_bytes([token])) - 1, 0, -1):
            shorter = self.constraint.tokenize_bytes(left[:size])
            if len(shorter) == 1 and matcher.validate_tokens(shorter):
                return int(shorter[0])
        raise ValueError(f"the grammar does not allow {left[:40]!r}")

    def _without(self, left: bytes, ids: Sequence[int]) -> bytes:
        written = self.constraint.decode_bytes(list(ids))
        if not left.startswith(written):
            raise ValueError(f"{written!r} was forced where {left[:40]!r} was to come")
        return left[len(written) :]


class _Vocabulary:
    """A tokenizer as llguidance wants it."""

    bos_token_id = None

    def __init__(self, tokenizer: TextTokenizer, network: PlannerNetwork) -> None:
        size = network.backbone.vocab_size
        self.tokens = [*tokenizer.token_bytes(), *(b"" for _ in range(size))][:size]
        self.eos_token_id = tokenizer.end_id
        self.special_token_ids = [tokenizer.end_id]
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> list[int]:
        return self._tokenizer.encode_written(text, 1 << 20)


def _timed(run: Callable[[], int]) -> tuple[float, float, int]:
    """Milliseconds of processor and of wall, and the number of passes."""
    begun, wall = time.process_time(), time.perf_counter()
    with torch.inference_mode():
        passes = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.process_time() - begun) * 1000.0, (time.perf_counter() - wall) * 1000.0, passes


def _model(checkpoint: Path | None, config: str | None) -> Model:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if config is None:
        loaded = load_checkpoint(checkpoint or shared_file(SHIPPED), device=device)
        _hold_open(loaded.network.gate)
        return Model(loaded.network, loaded.tokenizer, load_prior(loaded.files), free=True)
    settings = load_config(config)
    backbone = settings.model.backbone
    generator = Generator(seed=0, split=None)
    read = [text for number in range(200) for text in _texts(generator.generate(number).example.given)]
    tokenizer = train_tokenizer(read) if backbone.from_scratch else load_pretrained_tokenizer(backbone)
    return Model(PlannerNetwork(settings).eval().to(device), tokenizer, LexicalPrior(), free=False)


def _hold_open(gate: Gate) -> None:
    """Make the gate want a step wherever one may follow."""
    last = gate.layers[-1]
    if not isinstance(last, torch.nn.Linear):
        raise TypeError("the gate ends in no linear layer")
    with torch.no_grad():
        last.bias[STEP] += 1e4


def _texts(given: PlanningInput) -> list[str]:
    return [given.task, *(card.text for card in given.candidates)]


def _written(model: Model, work: Sequence[Job]) -> TextTokenizer:
    """A tokenizer that has learned the very texts, so that JSON is as short as it can be."""
    if not model.network.config.model.backbone.from_scratch:
        return model.tokenizer
    texts = [text for job in work for text in (*_texts(job.given), job.compact(), job.plain())]
    return train_tokenizer(texts, vocab_size=model.network.backbone.vocab_size)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and one line of JSON last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--checkpoint", type=Path, help=f"folder of trained weights (default: {SHIPPED})")
    parser.add_argument("--config", help="a shipped configuration, or a YAML file: random weights, steps given")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tools", type=int, default=30)
    parser.add_argument("--count", type=int, default=10, help="requests (default: 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    model = _model(chosen.checkpoint, chosen.config)
    limits = model.network.config.model.limits
    work = jobs(chosen.count, chosen.steps, chosen.tools, chosen.seed, limits, model if model.free else None)
    writer = JsonWriter(model, _written(model, work))
    ways: dict[str, Callable[[Job], int]] = {
        "steps": lambda job: by_steps(model, job, ahead=AHEAD),
        "single steps": lambda job: by_steps(model, job, ahead=0),
        "compact JSON": lambda job: writer.write(job, job.compact(), job.grammar()),
        "plain JSON": lambda job: writer.write(job, job.plain(), None),
    }
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in ways}
    for job in work:
        _timed(lambda job=job: ways["steps"](job))  # type: ignore[misc]
    for number, job in enumerate([work[0], *work]):
        for name, run in ways.items():
            result = _timed(lambda run=run, job=job: run(job))  # type: ignore[misc]
            taken[name] += [result] if number else []
        print(f"\r{number} of {len(work)} measured", end="", flush=True)
    print()
    print(f"{'':14}{'ms p50':>10}{'ms max':>10}{'wall p50':>10}{'passes p50':>12}")
    middle = {}
    for name, rows in taken.items():
        spent, wall, passes = zip(*rows, strict=True)
        middle[name] = statistics.median(spent)
        print(
            f"{name:14}{middle[name]:10.1f}{max(spent):10.1f}{statistics.median(wall):10.1f}"
            f"{statistics.median(passes):12.0f}"
        )
    name = model.network.config.model.backbone.name.rsplit("/", 1)[-1]
    print(
        json.dumps(
            {
                "ratio_compact": round(middle["compact JSON"] / middle["steps"], 2),
                "ratio_plain": round(middle["plain JSON"] / middle["steps"], 2),
                f"{name}_ms_p50": round(middle["steps"], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
