"""Explanations that the model is taught to write: which tool makes what of what."""

from __future__ import annotations

from collections.abc import Sequence

from tomas.training.generate.grammar import join
from tomas.training.generate.spec import ToolSpec
from tomas.training.generate.story import Language
from tomas.training.generate.telling import Told
from tomas.training.generate.world import Item

__all__ = ["explain", "explain_refusal"]


def explain(told: Told, names: Sequence[str], language: Language) -> str:
    """One clause a step.

    :param names: of the steps' tools as the model sees them, in the answer's order.
    """
    clauses = []
    for place, (step, name) in enumerate(zip(told.order, names, strict=True)):
        node = told.world.nodes[step]
        items = node.sources[0] if node.sources else ()
        made = node.tool.outputs[0] if node.tool.outputs else None
        read = [_called(told, item, language) for item in items]
        if language == "zh":
            what = f"得到{made.chinese}" if made else f"完成{node.tool.noun_zh}"
            lead = "先" if place == 0 and len(names) > 1 else "再" if place else ""
            clauses.append(f"{lead}用 {name} 由{'、'.join(read)}{what}" if read else f"{lead}用 {name} {what}")
        else:
            what = f"makes {made.english}" if made else f"does {node.tool.noun}"
            clauses.append(f"{name} {what} from {join(read)}" if read else f"{name} {what}")
    return "；".join(clauses) + "。" if language == "zh" else "; ".join(clauses) + "."


def explain_refusal(language: Language, missing: ToolSpec | None) -> str:
    """Why there is no plan."""
    if language == "zh":
        return f"所给工具都不能做{missing.noun_zh}。" if missing else "这不是所给工具能完成的任务。"
    return f"None of the given tools does {missing.noun}." if missing else "No given tool serves this task."


def _called(told: Told, item: Item, language: Language) -> str:
    if item.step < 0:
        return told.story.nouns[item.index].short
    out = told.world.nodes[item.step].tool.outputs[item.index]
    return out.chinese if language == "zh" else out.english
