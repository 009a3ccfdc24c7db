"""A small world of typed tools, with requests and their right plans, from which the tests learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tomas.model.config import NeuralConfig, parse_config
from tomas.model.example import (
    ArgumentCard,
    ModeCard,
    PlanningExample,
    PlanningInput,
    PlanningTarget,
    PortCard,
    Source,
    StepModes,
    StepTarget,
    ToolCard,
)
from tomas.model.tokenizer import TextTokenizer, train_tokenizer

_PROFILE = np.array(
    [
        [12.0, 1, 0.5, 0, 0, 7.0, 0.3, 9.0],
        [12.0, 2, 0.5, 0, 0, 6.5, 0.3, 9.0],
        [14.0, 4, 2.0, 0, 0, 8.0, 1.0, 11.0],
    ],
    np.float32,
)


def _tool(name: str, text: str, taken: str, made: str, *arguments: ArgumentCard) -> ToolCard:
    return ToolCard(
        name,
        f"{name} {text}",
        (PortCard("files", taken),),
        (PortCard("results", made),),
        arguments,
        _PROFILE * (1.0 + len(name) / 50.0),
    )


TOOLS = (
    _tool("object_detection", "detect objects, faces, 检测物体", "image/*", "application/jsonl"),
    _tool("image_captioning", "caption pictures, 图片描述", "image/*", "text/plain"),
    _tool("super_resolution", "enlarge images, sharpen, 超分辨率", "image/*", "image/png",
          ArgumentCard("scale", "scale factor of the enlargement", "integer")),
    _tool("text_summarization", "summarize documents, 摘要", "text/plain", "text/markdown"),
    _tool("machine_translation", "translate text, 翻译", "text/plain", "text/plain",
          ArgumentCard("target_language", "language to translate into", "string", ("en", "zh", "fr"),
                       choice_names=(("English", "英文"), ("Chinese", "中文"), ("French", "法文")))),
    _tool("speech_recognition", "transcribe speech, 语音识别", "audio/*", "text/plain"),
)  # fmt: skip

_CHAINS: tuple[tuple[str, str, tuple[int, ...], tuple[tuple[str, str], ...]], ...] = (
    ("Detect the objects in these photos", "image/png", (0,), ()),
    ("Enlarge the pictures 4 times, then caption them", "image/png", (2, 1), (("scale", "4"),)),
    ("Transcribe the interview and translate it into French", "audio/wav", (5, 4), (("target_language", "fr"),)),
    ("Summarize the report", "text/plain", (3,), ()),
    ("把录音转成文字，翻译成英文，然后写摘要", "audio/wav", (5, 4, 3), (("target_language", "en"),)),
    ("给图片写描述，并翻译成中文", "image/jpeg", (1, 4), (("target_language", "zh"),)),
    ("放大图片 2 倍后检测物体", "image/png", (2, 0), (("scale", "2"),)),
)


def given(task: str, media: str, tools: tuple[int, ...] = tuple(range(6)), cells: int = 30) -> PlanningInput:
    """A request over some of the tools, on two worker classes."""
    cards = tuple(TOOLS[k] for k in tools)
    scores = np.array(
        [len(set(task.lower().split()) & set(card.text.lower().split())) for card in cards], np.float32
    )
    curves = np.stack([np.full((4, cells), 0.9), np.linspace(0.2, 1.0, cells) * np.ones((4, 1))]).astype(np.float32)
    return PlanningInput(
        task,
        "zh" if any("\u4e00" <= char <= "\u9fff" for char in task) else "en",
        cards,
        scores,
        inputs=(("files", media, 1e6),),
        classes=("small", "large"),
        capacity=np.array([[4, 8, 0, 0], [16, 64, 100, 24]], np.float32),
        curves=curves,
    )


def _modes() -> StepModes:
    return StepModes(
        (
            ModeCard(0, (1.0, 2.0, 0.0, 0.0), 900.0, 1200.0, 1.0),
            ModeCard(0, (4.0, 2.0, 0.0, 0.0), 300.0, 400.0, 1.4),
            ModeCard(1, (2.0, 4.0, 50.0, 8.0), 100.0, 150.0, 6.0),
        )
    )


def examples() -> list[PlanningExample]:
    """Seven plans, and a request that no tool serves."""
    found = []
    for number, (task, media, chain, arguments) in enumerate(_CHAINS):
        steps = []
        for s, tool in enumerate(chain):
            source = Source(-1, 0) if s == 0 else Source(s - 1, 0)
            known = {argument.name for argument in TOOLS[tool].arguments}
            steps.append(
                StepTarget(
                    tool,
                    () if s == 0 else (s - 1,),
                    ((source,),),
                    tuple(item for item in arguments if item[0] in known),
                    (0.0, 1.0, 0.0) if s % 2 == 0 else (0.0, 0.0, 1.0),
                    (0.1, -0.1, 0.0, 0.0),
                )
            )
        text = " then ".join(TOOLS[k].name for k in chain) if number < 2 else ""
        target = PlanningTarget(tuple(steps), explanation=text)
        modes = tuple(_modes() for _ in chain)
        found.append(PlanningExample(given(task, media), target, modes, id=str(number)))
    assert all(a.id != b.id for a, b in pairwise(found))
    refusal = PlanningTarget((), refuse=True)
    return [*found, PlanningExample(given("Book a table for tonight", "text/plain"), refusal, id="refuse")]


def tokenizer(vocab_size: int = 512) -> TextTokenizer:
    """A tokenizer of these texts."""
    texts = [example.given.task for example in examples()] + [card.text for card in TOOLS]
    return train_tokenizer(texts, vocab_size=vocab_size)


def small_config(**model: object) -> NeuralConfig:
    """A network that trains in seconds."""
    base: dict[str, object] = {
        "backbone": {
            "architecture": {
                "hidden_size": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 128, "vocab_size": 512,
            }
        },
        "tool_encoder": {"d_tool": 48, "d_match": 24},
        "tool_set": {"d_set": 64, "heads": 4},
        "heads": {"d_pointer": 48, "d_edge": 32, "d_binding": 32, "d_argument": 32},
        "allocation": {"d_model": 32},
        "limits": {"max_steps": 6, "max_candidates": 8},
        "dropout": 0.0,
    }  # fmt: skip
    return parse_config({"model": base | model}, "test")
