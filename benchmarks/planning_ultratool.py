"""UltraTool's format: a memory of the training requests, a network trained on top of it, plans by step decoding."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.planning_formats import Request
from benchmarks.planning_metrics import Chain, chain_scores
from tomas.errors import DataError
from tomas.model.checkpoint import Checkpoint, save_checkpoint
from tomas.model.config import NeuralConfig
from tomas.model.decode import decode
from tomas.model.example import PlanningExample, PlanningInput, PlanningTarget, StepTarget, ToolCard
from tomas.model.lean import lean_on_precedents
from tomas.model.network import PlannerNetwork
from tomas.model.prior import LexicalPrior, Prior
from tomas.model.prior_encoder import SentenceEncoder
from tomas.model.prior_memory import KnownRequest, PlanMemory, in_cards
from tomas.model.prior_plans import Recall
from tomas.model.prompt import narrow
from tomas.model.tokenizer import TextTokenizer, train_tokenizer
from tomas.training.neural.loop import Progress as Step
from tomas.training.neural.loop import train

__all__ = ["Planned", "fit", "plan"]

_VALID_SHARE = 0.1
_VOCABULARY = 4096
_LEANS = (1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Planned:
    """Plans of requests, and how long each took in milliseconds of wall time, prior included."""

    chains: list[Chain]
    prior_chains: list[Chain]
    ms: list[float]


def fit(
    requests: Sequence[Request],
    cards: Sequence[ToolCard],
    folder: Path,
    config: NeuralConfig,
    *,
    encoder: SentenceEncoder | None,
    tune_epochs: int,
    minutes: float,
    console: Console,
) -> dict[str, float]:
    """Learn from requests with their plans, and write a checkpoint to ``folder``.

    :param tune_epochs: for which the encoder's upper layers are trained further; 0: not at all.
    :param minutes: for all of it, in wall time; the network gets what the memory leaves.
    :return: seconds of processor time by part.
    :raises DataError: a plan names an unknown tool.
    """
    begun, cpu = time.monotonic(), time.process_time()
    known = [KnownRequest(item.task, item.plan) for item in requests]
    with _bar(console) as bar:
        shown = bar.add_task("memory", total=1.0)

        def tuned(share: float) -> None:
            bar.update(shown, completed=share, description="upper layers of the encoder")

        memory, recalls = PlanMemory.fit(known, cards, encoder=encoder, tune_epochs=tune_epochs, report=tuned)
    spent = {"memory_cpu_s": round(time.process_time() - cpu, 1)}
    console.print(f"memory of {len(known)} requests: {spent['memory_cpu_s']} s of processor time")
    most = config.model.limits.max_candidates
    lexical = LexicalPrior()
    examples = [
        _example(item, recall, cards, lexical, most) for item, recall in zip(requests, recalls, strict=True)
    ]
    texts = [item.task for item in requests] + [card.text for card in cards]
    tokenizer = train_tokenizer(texts, vocab_size=_VOCABULARY)
    network = PlannerNetwork(config)
    order = np.random.default_rng(config.training.seed).permutation(len(examples))
    held = max(1, round(_VALID_SHARE * len(examples)))
    valid, taught = ([examples[row] for row in rows] for rows in (order[:held], order[held:]))
    left = minutes - (time.monotonic() - begun) / 60.0
    cpu = time.process_time()
    with _bar(console) as bar:
        shown = bar.add_task("network", total=1.0)

        def report(step: Step) -> None:
            bar.update(shown, completed=step.share, description=_told(step))
            if step.valid is not None:
                console.print(_told(step))

        done = train(
            network, tokenizer, taught, valid=valid, folder=folder.parent / "run", minutes=left, report=report
        )
    lean = _lean(network, tokenizer, valid)
    spent["network_cpu_s"] = round(time.process_time() - cpu, 1)
    console.print(
        f"network: {done.epochs} epochs kept, precedents weigh {lean:g} times what was learned, "
        f"{spent['network_cpu_s']} s of processor time"
    )
    notes = {"epochs": done.epochs, "lean": lean, **spent}
    save_checkpoint(folder, network, tokenizer, extra=memory.files(), notes=notes)
    return spent


def plan(
    requests: Sequence[Request], cards: Sequence[ToolCard], checkpoint: Checkpoint, prior: Prior, console: Console
) -> Planned:
    """Plan every request by step decoding, as the neural planner does, from its task and the tools alone."""
    chains: list[Chain] = []
    first: list[Chain] = []
    ms: list[float] = []
    most = checkpoint.config.model.limits.max_candidates
    for number, request in enumerate(requests):
        begun = time.perf_counter()
        scores = prior.scores(request.task, cards)
        given = narrow(PlanningInput(request.task, "en", tuple(cards), scores), most)
        given = replace(given, precedents=prior.precedents(request.task, given.candidates))
        chains.append(_chain(checkpoint.network, checkpoint.tokenizer, given))
        ms.append((time.perf_counter() - begun) * 1000.0)
        likeliest = given.precedents[0].tools if given.precedents else ()
        first.append(tuple(given.candidates[k].name for k in likeliest))
        if number % 100 == 99:
            console.print(f"planned {number + 1} of {len(requests)}")
    return Planned(chains, first, ms)


def _lean(network: PlannerNetwork, tokenizer: TextTokenizer, held: Sequence[PlanningExample]) -> float:
    """Weigh precedents so that plans, not losses, are best on what was held out; by how much more than learned."""
    right = [_request(item) for item in held]

    def worth(network: PlannerNetwork) -> list[float]:
        chains = (_chain(network, tokenizer, item.given) for item in held)
        return [sum(chain_scores([chain], [asked]).values()) for chain, asked in zip(chains, right, strict=True)]

    return lean_on_precedents(network, worth, _LEANS)


def _chain(network: PlannerNetwork, tokenizer: TextTokenizer, given: PlanningInput) -> Chain:
    # A tool is wanted twice in one request of eighty; only where the likeliest precedent says so is that allowed.
    likeliest = given.precedents[0].tools if given.precedents else ()
    drafted = decode(network, tokenizer, given, repeats=len(set(likeliest)) < len(likeliest))
    return tuple(given.candidates[step.tool].name for step in drafted.steps)


def _request(example: PlanningExample) -> Request:
    plan = tuple(example.given.candidates[step.tool].name for step in example.target.steps)
    links = frozenset((plan[i], plan[at]) for at, step in enumerate(example.target.steps) for i in step.parents)
    return Request(example.id, example.given.task, plan, links)


def _example(
    request: Request, recall: Recall, cards: Sequence[ToolCard], lexical: LexicalPrior, most: int
) -> PlanningExample:
    """A request with the candidates that the prior finds; tools of the answer that it misses are added."""
    place = {card.name: number for number, card in enumerate(cards)}
    try:
        wanted = {place[name] for name in request.plan}
    except KeyError as error:
        raise DataError(
            f"The request {request.id} names the unknown tool {error}.", remedy="Give its tools."
        ) from None
    scores, _ = in_cards(recall, cards, lexical.scores(request.task, cards))
    # A stable sort, so that tools without any evidence stand in the order of their names.
    best = sorted(range(len(cards)), key=lambda k: (k not in wanted, -float(scores[k]), cards[k].name))[:most]
    shown = [cards[k] for k in sorted(best, key=lambda k: cards[k].name)]
    chosen, precedents = in_cards(recall, shown, scores[[place[card.name] for card in shown]])
    index = {card.name: number for number, card in enumerate(shown)}
    steps = tuple(
        StepTarget(index[name], tuple(i for i in range(at) if (request.plan[i], name) in request.links))
        for at, name in enumerate(request.plan)
    )
    given = PlanningInput(request.task, "en", tuple(shown), chosen, precedents=precedents)
    return PlanningExample(given, PlanningTarget(steps), id=request.id)


def _bar(console: Console) -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console)


def _told(step: Step) -> str:
    losses = step.losses
    text = f"epoch {step.epoch + 1} of {step.epochs}: loss {losses['total']:.3f}, tool {losses.get('tool', 0):.3f}"
    return f"{text}, held out {step.valid['total']:.3f}" if step.valid is not None else text
