"""Step decoding against plans written as JSON: the same backbone, the same prompt in the same cache, the same plan.

``.venv/bin/python -m benchmarks.planner_speed`` plans ten steps over 30 tools with the shipped weights. Requests
are generated, of wordings and tools that training did not see, and ask for just ten steps. The planner chooses what
it likes; its gate is held open until the tenth step, so that a plan which it would have ended early counts in full.
This draft is what the other ways write:

- steps: step decoding as it plans, the next steps guessed and run together; pointers for tools, edges, bindings and
  arguments, one parallel pass for allocations, and the proposed modes placed on the bins;
- single steps: the same without guesses, a pass per step;
- compact JSON: ``[["tool",[edges],mode],…]`` under a grammar, tokens without a choice fed together with the next
  (jump-forward);
- plain JSON: keys, ids and amounts spelled out, one pass per token.

The tokens of JSON are given (forced), so that it says the same plan at once, and its tokenizer is trained on the
very texts. With ``--config`` in place of a checkpoint, weights are random and the steps are given, too: a guess
would mean nothing, and steps are run singly. The explanation is left out of all. Times are processor time of one
thread. Every request is planned once before, so that the texts of its tools are known to all ways. Each way is
measured several times in turn with the others; ratios are of the least time of each way, so that other work on the
machine hardly enters them, and medians over the requests. Milliseconds are medians over all times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import llguidance
import torch
from llguidance import TokenizerWrapper

from benchmarks.planner_speed_jobs import Job, Model, jobs
from tomas.config import shared_file
from tomas.model.batch import STEP
from tomas.model.checkpoint import load_checkpoint
from tomas.model.config import load_config
from tomas.model.decode import AHEAD, Decoder, first_guess
from tomas.model.example import PlanningInput
from tomas.model.heads import Gate
from tomas.model.network import PlannerNetwork
from tomas.model.prior import LexicalPrior, load_prior
from tomas.model.tokenizer import TextTokenizer, load_pretrained_tokenizer, train_tokenizer
from tomas.neural.checkpoints import SHIPPED
from tomas.training.generate.examples import Generator


def by_steps(model: Model, job: Job, *, ahead: int) -> int:
    """Plan by steps; the number of passes."""
    begin = first_guess(job.given, min(ahead, len(job.modes))) if model.free else ()
    decoder = Decoder(model.network, model.tokenizer, job.given, begin=begin)
    if model.free:
        decoder.plan(len(job.modes), ahead=ahead)
        if tuple(decoder.chosen) != job.tools:
            raise SystemExit("The same request was planned otherwise.")
    else:
        for tool in job.tools:
            decoder.choose(tool)
    decoder.finish(lambda _: job.modes, job.placed)
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


def _measured(
    ways: Mapping[str, Callable[[Job], int]], work: Sequence[Job], repeats: int
) -> dict[str, list[list[tuple[float, float, int]]]]:
    """By way, per request, as often as repeated: what :func:`_timed` says."""
    for job in work:
        _timed(lambda job=job: ways["steps"](job))  # type: ignore[misc]
    for run in ways.values():
        _timed(lambda run=run: run(work[0]))  # type: ignore[misc]
    taken: dict[str, list[list[tuple[float, float, int]]]] = {name: [] for name in ways}
    for number, job in enumerate(work, start=1):
        turns = [
            {name: _timed(lambda run=run, job=job: run(job)) for name, run in ways.items()}  # type: ignore[misc]
            for _ in range(repeats)
        ]
        for name, rows in taken.items():
            rows.append([turn[name] for turn in turns])
        print(f"\r{number} of {len(work)} measured", end="", flush=True)
    print()
    return taken


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
    parser.add_argument("--repeats", type=int, default=3, help="of each way for each request (default: 3)")
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
    taken = _measured(ways, work, chosen.repeats)
    print(f"{'':14}{'ms p50':>10}{'ms max':>10}{'wall p50':>10}{'passes p50':>12}")
    for name, rows in taken.items():
        spent, wall, passes = zip(*(item for row in rows for item in row), strict=True)
        print(
            f"{name:14}{statistics.median(spent):10.1f}{max(spent):10.1f}{statistics.median(wall):10.1f}"
            f"{statistics.median(passes):12.0f}"
        )
    least = {name: [min(spent for spent, _, _ in row) for row in rows] for name, rows in taken.items()}

    def ratio(other: str) -> float:
        return round(statistics.median(b / a for a, b in zip(least["steps"], least[other], strict=True)), 2)

    name = model.network.config.model.backbone.name.rsplit("/", 1)[-1]
    print(
        json.dumps(
            {
                "ratio_compact": ratio("compact JSON"),
                "ratio_plain": ratio("plain JSON"),
                f"{name}_ms_p50": round(statistics.median(row[0] for rows in taken["steps"] for row in rows), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
