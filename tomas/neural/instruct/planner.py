"""The instruct planner: any stock chat model that transformers loads, on its first day, without trained heads."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tomas.config import InstructSettings, get_settings
from tomas.errors import ConfigError, ModelUnavailable, NoToolMatches
from tomas.lexicon import media_of_type
from tomas.neural.instruct.grammar import answered_tools, plan_grammar, read_answer
from tomas.neural.instruct.prompt import messages
from tomas.planner.allowed import allowed_tools, unavailable, usable_tools
from tomas.planner.base import Draft
from tomas.planner.index import ToolIndex, ToolWords
from tomas.planner.skeleton import bind_skeleton
from tomas.planner.text import check_task, features, normalise
from tomas.schema import PlanRequest, Tool
from tomas.tools.registry import Registry

if TYPE_CHECKING:
    import llguidance
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from tomas.neural.instruct.decode import Decoded

__all__ = ["InstructPlanner"]

_ASK_AGAIN_S = 60.0
"""A model that could not be loaded is tried again after this time: a hub that does not answer takes long."""


class InstructPlanner:
    """Drafts plans by grammar-constrained JSON of a language model; ports are bound by type afterwards.

    The model is loaded at the first plan and kept. A large registry is narrowed by lexical retrieval to
    ``TOMAS__INSTRUCT__CANDIDATES`` tools.
    """

    kind: ClassVar[str] = "instruct"

    def __init__(self, settings: InstructSettings | None = None) -> None:
        self._settings = settings or get_settings().instruct
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerFast, llguidance.LLTokenizer] | None = None
        self._failed: tuple[float, ModelUnavailable] | None = None

    @property
    def version(self) -> str:
        """Name of the model, and that it has no heads of its own."""
        revision = f"@{self._settings.revision}" if self._settings.revision else ""
        return f"heads: none, {Path(self._settings.model or 'no model').name}{revision}"

    def draft(self, request: PlanRequest, registry: Registry) -> Draft:
        """Ask the model for tools, order and closed arguments.

        :raises TaskError: the task is empty, too long or not text.
        :raises ConfigError: no model is set.
        :raises ModelUnavailable: what is set cannot be loaded.
        :raises NoToolMatches: the model refused, or chose what does not produce a declared result.
        :raises ToolUnavailable: a tool that the model chose is not installed, and may not be planned.
        :raises PlanError: the answer did not end within its limits.
        """
        check_task(request.task)
        registry = registry.with_tools(request.tools) if request.tools else registry
        allowed = allowed_tools(request, registry)
        if not allowed:
            raise NoToolMatches("No tool may be planned.", remedy="Allow tools (allowed_tools), or register some.")
        usable, remedies = usable_tools(allowed, request)
        # Tools that cannot run here are offered too: a task that needs one shall say so, and not get another.
        tools = self._candidates(request, allowed)
        decoded = self.generate(request, tools)
        answer = read_answer(decoded.text, _confidences(decoded))
        if answer.refusal is not None:
            raise NoToolMatches(
                f"The model found no tool for the task: {answer.refusal}",
                remedy="Rephrase the task, or add a tool that does it.",
            )
        absent = [step.tool for step in answer.steps if step.tool in remedies]
        if absent and absent[0] not in usable:
            raise unavailable(absent[0], remedies)
        warnings = [f"{name} cannot run here: {remedies[name]}" for name in dict.fromkeys(absent)]
        return bind_skeleton(answer.steps, request, usable, warnings=warnings)

    def generate(self, request: PlanRequest, tools: list[Tool], *, jump_forward: bool = True) -> Decoded:
        """The model's answer for ``request`` over ``tools``, as text under :func:`plan_grammar`."""
        from tomas.neural.instruct.decode import decode_under_grammar

        model, tokenizer, constraint = self._load()
        prompt = _encode(tokenizer, request, tools)
        limit = getattr(model.config, "max_position_embeddings", 0) or math.inf
        while len(prompt) + self._settings.max_new_tokens > limit and len(tools) > 1:
            tools = tools[: max(1, len(tools) * 3 // 4)]
            prompt = _encode(tokenizer, request, tools)
        most = self._settings.max_steps
        return decode_under_grammar(
            model,
            constraint,
            plan_grammar(tools, most),
            prompt,
            narrowed=lambda text: plan_grammar(tools, most, answered_tools(text)),
            max_new_tokens=self._settings.max_new_tokens,
            limit_s=self._settings.limit_s,
            jump_forward=jump_forward,
        )

    def _candidates(self, request: PlanRequest, allowed: dict[str, Tool]) -> list[Tool]:
        """The tools that the model reads: the likeliest by words, then those that fit the given inputs."""
        if len(allowed) <= self._settings.candidates:
            return list(allowed.values())
        given = frozenset(media_of_type(item.type) for item in request.inputs.values())
        index = ToolIndex(map(ToolWords.of, allowed.values()))
        found = index.search(features(normalise(request.task)), among=allowed, media=given)
        names = dict.fromkeys([*(match.tool for match in found), *allowed])
        return [allowed[name] for name in list(names)[: self._settings.candidates]]

    def _load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, llguidance.LLTokenizer]:
        if self._loaded is None:
            if not self._settings.model:
                raise ConfigError(
                    "The instruct planner has no model.",
                    remedy="Set TOMAS__INSTRUCT__MODEL to a hub id, a folder or a GGUF file, "
                    "for example Qwen/Qwen2.5-7B-Instruct.",
                )
            if self._failed is not None and time.monotonic() < self._failed[0]:
                raise ModelUnavailable(self._failed[1].what, remedy=self._failed[1].remedy)
            import llguidance.hf

            from tomas.model.pretrained import load_chat_model

            try:
                model, tokenizer = load_chat_model(
                    self._settings.model, revision=self._settings.revision, dtype=self._settings.dtype
                )
            except ModelUnavailable as error:
                self._failed = time.monotonic() + _ASK_AGAIN_S, error
                raise
            self._loaded = (
                model,
                tokenizer,
                llguidance.hf.from_tokenizer(tokenizer, n_vocab=model.config.vocab_size),
            )
        return self._loaded


def _encode(tokenizer: PreTrainedTokenizerFast, request: PlanRequest, tools: list[Tool]) -> list[int]:
    text = tokenizer.apply_chat_template(messages(request, tools), tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _confidences(decoded: Decoded) -> dict[int, float]:
    """Probability of each step's tool: the product over the free tokens of its name."""
    data = decoded.text.encode()
    result: dict[int, float] = {}
    begin = 0
    for index, item in enumerate(json.loads(decoded.text).get("steps", [])):
        name = json.dumps(item["tool"]).encode()
        begin = data.index(b'"tool":' + name, begin) + len(b'"tool":')
        end = begin + len(name)
        result[index] = math.exp(
            sum(share for first, after, share in decoded.chosen if first < end and after > begin)
        )
        begin = end
    return result
