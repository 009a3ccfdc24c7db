"""Step decoding against plans written as JSON: the same backbone, the same prompt in the same cache.

``.venv/bin/python -m benchmarks.planner_speed`` plans ten steps over 30 tools. What is chosen is given (forced), so
that weights play no part and all ways answer the same plan:

- steps: one pass per step, pointers for tools, edges, bindings and arguments, one parallel pass for allocations;
- compact JSON: ``[["tool",[edges],mode],…]`` under a grammar, tokens without a choice fed together with the next
  (jump-forward);
- plain JSON: keys, ids and amounts spelled out, one pass per token.

The explanation is left out of all three. Times are processor time of one thread after one run to warm up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import llguidance
import numpy as np
import torch
from llguidance import TokenizerWrapper

from tomas.model.config import load_config
from tomas.model.decode import Decoder
from tomas.model.example import ModeCard, PlanningInput, StepModes
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer, load_pretrained_tokenizer, train_tokenizer
from tomas.training.generate.examples import Generator
from tomas.training.generate.modes import draw_modes, input_sizes

_MODES = 12


@dataclass(frozen=True)
class Job:
    """A request and the plan that is to come out."""

    given: PlanningInput
    tools: tuple[int, ...]
    parents: tuple[tuple[int, ...], ...]
    modes: tuple[StepModes, ...]
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


def jobs(count: int, steps: int, tools: int, seed: int) -> list[Job]:
    """Generated requests of so many steps over so many tools."""
    generator = Generator(seed=seed, split=None)
    found: list[Job] = []
    spare: list[PlanningInput] = []
    number = 0
    while len(found) < count:
        made = generator.generate(number)
        number += 1
        example = made.example
        spare.append(example.given)
        if len(example.target.steps) != steps or len({step.tool for step in example.target.steps}) != steps:
            continue
        rng = Random(number)  # noqa: S311  (no secret)
        needed = [step.tool for step in example.target.steps]
        cards = [example.given.candidates[tool] for tool in needed]
        others = [card for given in (example.given, *reversed(spare)) for card in given.candidates]
        seen = {card.name for card in cards}
        for card in others:
            if len(cards) < tools and card.name not in seen:
                cards.append(card)
                seen.add(card.name)
        given = replace(
            example.given, candidates=tuple(cards), retrieval=np.zeros(len(cards), np.float32), precedents=()
        )
        modes = []
        for law, size in zip(made.laws, input_sizes(example, made.laws), strict=True):
            drawn = list(draw_modes(law, size, made.fleet, rng))
            while len(drawn) < _MODES:
                other = drawn[len(drawn) % len(drawn) - 1]
                drawn.append(ModeCard(other.class_index, other.need, other.p50_ms * 1.1, other.p90_ms * 1.1))
            modes.append(StepModes(tuple(drawn[:_MODES])))
        found.append(
            Job(
                given,
                tuple(range(steps)),
                tuple(step.parents for step in example.target.steps),
                tuple(modes),
                tuple(rng.randrange(_MODES) for _ in range(steps)),
            )
        )
    return found


def by_steps(network: PlannerNetwork, tokenizer: TextTokenizer, job: Job) -> int:
    """Plan by steps; the number of passes."""
    decoder = Decoder(network, tokenizer, job.given)
    for tool in job.tools:
        decoder.choose(tool)
    decoder.finish(lambda _: job.modes)
    return decoder.passes + 1  # the allocation pass, though it is a smaller one


class JsonWriter:
    """Writes a given text with the network's backbone after the same prompt."""

    def __init__(self, network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
        self.network, self.tokenizer = network, tokenizer
        self.constraint = llguidance.LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, network)))

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


def _timed(run: Callable[[], int]) -> tuple[float, int]:
    begun = time.process_time()
    with torch.inference_mode():
        passes = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.process_time() - begun) * 1000.0, passes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and one line of JSON last."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--config", default="tiny", help="a shipped configuration, or a YAML file (default: tiny)")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tools", type=int, default=30)
    parser.add_argument("--count", type=int, default=10, help="requests (default: 10)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(chosen.seed)
    config = load_config(chosen.config)
    work = jobs(chosen.count, chosen.steps, chosen.tools, chosen.seed)
    backbone = config.model.backbone
    texts = [card.text for job in work for card in job.given.candidates] + [job.given.task for job in work]
    # Names and keys are in what the tokenizer learns from, so that JSON is as short as it can be.
    texts += [job.compact() for job in work] + [job.plain() for job in work]
    tokenizer = train_tokenizer(texts) if backbone.from_scratch else load_pretrained_tokenizer(backbone)
    network = PlannerNetwork(config).eval()
    if torch.cuda.is_available():
        network = network.cuda()
    writer = JsonWriter(network, tokenizer)
    ways: dict[str, Callable[[Job], int]] = {
        "steps": lambda job: by_steps(network, tokenizer, job),
        "compact JSON": lambda job: writer.write(job, job.compact(), job.grammar()),
        "plain JSON": lambda job: writer.write(job, job.plain(), None),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    passes: dict[str, list[int]] = {name: [] for name in ways}
    for number, job in enumerate([work[0], *work]):
        for name, run in ways.items():
            ms, count = _timed(lambda run=run, job=job: run(job))  # type: ignore[misc]
            if number:
                times[name].append(ms)
                passes[name].append(count)
        print(f"\r{number} of {len(work)} requests", end="", flush=True)
    print()
    print(f"{'':14}{'ms p50':>10}{'ms max':>10}{'passes p50':>12}")
    for name in ways:
        spent = times[name]
        middle = statistics.median(passes[name])
        print(f"{name:14}{statistics.median(spent):10.1f}{max(spent):10.1f}{middle:12.0f}")
    steps_ms = statistics.median(times["steps"])
    name = backbone.name.rsplit("/", 1)[-1]
    print(
        json.dumps(
            {
                "ratio_compact": round(statistics.median(times["compact JSON"]) / steps_ms, 2),
                "ratio_plain": round(statistics.median(times["plain JSON"]) / steps_ms, 2),
                f"{name}_ms_p50": round(steps_ms, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
