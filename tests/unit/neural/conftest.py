"""A small checkpoint that has learned a few requests over the shipped registry by heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.model.world import small_config
from tomas.config import Settings
from tomas.model.batch import collate
from tomas.model.checkpoint import save_checkpoint
from tomas.model.example import PlanningExample, PlanningTarget, Source, StepTarget
from tomas.model.network import PlannerNetwork
from tomas.model.prior import LexicalPrior
from tomas.model.tokenizer import train_tokenizer
from tomas.neural.cards import tool_card
from tomas.neural.reading import planning_input
from tomas.schema import PlanRequest, RequestInput
from tomas.tools.registry import Registry

IMAGES = {"photos": RequestInput(type="image/png", uris=["s3://in/a.png"], bytes=2_000_000)}
TEXTS = {"reports": RequestInput(type="text/plain", uris=["s3://in/a.txt"], bytes=50_000)}
VIDEOS = {"clips": RequestInput(type="video/mp4", uris=["s3://in/a.mp4"], bytes=9_000_000)}

KNOWN: tuple[
    tuple[str, dict[str, RequestInput], tuple[tuple[str, tuple[int, ...], tuple[tuple[str, str], ...]], ...]], ...
] = (
    ("对一批图片进行分类", IMAGES, (("image_classification", (), ()),)),
    (
        "Detect objects, enlarge the images 3 times, and report all",
        IMAGES,
        (
            ("object_detection", (), ()),
            ("super_resolution", (), (("scale", "3"),)),
            ("report_generation", (0, 1), ()),
        ),
    ),
    (
        "Translate the reports into French and summarize them",
        TEXTS,
        (("machine_translation", (), (("target_language", "fr"),)), ("text_summarization", (0,), ())),
    ),
    (
        "Take the sound of the clips, then transcribe it",
        VIDEOS,
        (("audio_extraction", (), ()), ("speech_recognition", (0,), ())),
    ),
    ("Translate an English document", {}, (("machine_translation", (), ()),)),
    ("Book a table at a restaurant for tonight", TEXTS, ()),
)
SETTINGS = small_config(limits={"max_steps": 6, "max_candidates": 24, "max_values": 12})


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The shipped one."""
    return Registry.load()


def _example(number: int, registry: Registry) -> PlanningExample:
    task, inputs, chain = KNOWN[number]
    cards = [tool_card(tool) for tool in registry]
    scores = LexicalPrior().scores(task, cards)
    given = planning_input(PlanRequest(task=task, inputs=inputs), cards, scores, SETTINGS.model.limits)
    names = [card.name for card in given.candidates]
    steps = []
    for name, parents, arguments in chain:
        card = given.candidates[names.index(name)]
        bindings = []
        for port in card.inputs:
            sources = [Source(-1, 0)] if inputs and not parents else [Source(p, 0) for p in parents]
            if name == "report_generation":
                sources = [Source(0, 0)] if port.name == "records" else [Source(1, 0)]
            bindings.append(tuple(sources))
        steps.append(StepTarget(names.index(name), parents, tuple(bindings), arguments))
    told = f"Plan {number}." if steps else "Nobody books."
    target = PlanningTarget(tuple(steps), refuse=not steps, explanation=told)
    return PlanningExample(given, target, id=str(number))


@pytest.fixture(scope="session")
def checkpoint(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained checkpoint."""
    return learned(registry, tmp_path_factory.mktemp("models") / "learned")


def learned(registry: Registry, folder: Path) -> Path:
    """Train a checkpoint until it knows the requests of :data:`KNOWN`, and write it to ``folder``."""
    texts = [task for task, _, _ in KNOWN] + [tool_card(tool).text for tool in registry]
    tokenizer = train_tokenizer(texts, vocab_size=512)
    torch.manual_seed(0)
    network = PlannerNetwork(SETTINGS)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    examples = [_example(number, registry) for number in range(len(KNOWN))]
    assert len({example.id for example in examples}) == len(KNOWN)
    network.train()
    rng = np.random.default_rng(0)
    for _ in range(100):
        # Shuffled candidates: what was learned is the tool, not its place.
        shuffled = [_shuffled(example, rng) for example in examples]
        optimizer.zero_grad()
        network.loss(collate(shuffled, tokenizer, SETTINGS, rng=rng))["total"].backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    save_checkpoint(folder, network, tokenizer, extra=LexicalPrior().files(), notes={"loss": 0.0})
    return folder


def _shuffled(example: PlanningExample, rng: np.random.Generator) -> PlanningExample:
    order = rng.permutation(len(example.given.candidates)).tolist()
    given = replace(
        example.given,
        candidates=tuple(example.given.candidates[k] for k in order),
        retrieval=example.given.retrieval[order],
    )
    steps = tuple(replace(step, tool=order.index(step.tool)) for step in example.target.steps)
    return replace(example, given=given, target=replace(example.target, steps=steps))


@pytest.fixture(scope="session")
def settings(checkpoint: Path) -> Settings:
    """Settings that ask for the neural planner with that checkpoint."""
    return settings_of(checkpoint)


def settings_of(folder: Path, **neural: object) -> Settings:
    """Settings that ask for the neural planner with the checkpoint in ``folder``, speaking as it has learned to."""
    fields = {"checkpoint": folder, "free_text": True, **neural}
    return Settings.model_validate({"planner": {"kind": "neural"}, "neural": fields})
