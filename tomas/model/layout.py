"""Where things stand in the backbone's sequence, and what sees what.

Segments: classes | request | task | candidates | PLAN, steps, END | text. Classes share one position and see each
other, as do the request's inputs and outputs. Candidates share one position; each sees all before and itself, not
the others. From PLAN on, everything sees what stands before it. So the order of classes, of inputs and of
candidates does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tomas.model.prompt import Prompt

__all__ = ["Layout", "layout_of", "positions_of", "visible"]


@dataclass(frozen=True)
class Layout:
    """Lengths of the segments of a padded batch; ``plan`` counts PLAN, the steps and END."""

    classes: int
    request: int
    task: int
    tools: int
    plan: int = 1
    text: int = 0

    @property
    def prompt(self) -> int:
        """Positions before PLAN."""
        return self.classes + self.request + self.task + self.tools

    @property
    def length(self) -> int:
        """All positions."""
        return self.prompt + self.plan + self.text

    def slice(self, name: str) -> slice:
        """The positions of a segment."""
        names = ("classes", "request", "task", "tools", "plan", "text")
        begin = sum(getattr(self, earlier) for earlier in names[: names.index(name)])
        return slice(begin, begin + getattr(self, name))


def layout_of(prompt: Prompt, plan: int = 1, text: int = 0) -> Layout:
    """The layout of a batch."""
    return Layout(
        prompt.class_mask.shape[1],
        prompt.io_mask.shape[1],
        prompt.task_mask.shape[1],
        prompt.tool_mask.shape[1],
        plan,
        text,
    )


def positions_of(prompt: Prompt, layout: Layout, steps: Tensor) -> Tensor:
    """Position ids (B, length).

    :param steps: how many steps each plan has, (B,); END stands right behind them.
    """
    device = prompt.task.device
    size = prompt.size
    tokens = prompt.task_mask.sum(dim=1)
    positions = torch.zeros(size, layout.length, dtype=torch.long, device=device)
    positions[:, layout.slice("request")] = 1
    positions[:, layout.slice("task")] = 2 + torch.arange(layout.task, device=device)
    positions[:, layout.slice("tools")] = (2 + tokens)[:, None]
    start = 3 + tokens
    positions[:, layout.slice("plan")] = start[:, None] + torch.arange(layout.plan, device=device)
    end = start + steps + 1
    if layout.plan > 1:
        positions[:, layout.prompt + layout.plan - 1] = end
    positions[:, layout.slice("text")] = end[:, None] + 1 + torch.arange(layout.text, device=device)
    return positions


def visible(prompt: Prompt, layout: Layout, steps: Tensor, text_mask: Tensor | None = None) -> Tensor:
    """Which position sees which, (B, length, length) bool; padding sees itself alone.

    :param steps: how many steps each plan has, (B,).
    :param text_mask: (B, text).
    """
    device = prompt.task.device
    length = layout.length
    rule = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    for name in ("classes", "request"):
        rule[layout.slice(name), layout.slice(name)] = True
    tools = layout.slice("tools")
    rule[tools, tools] = torch.eye(layout.tools, dtype=torch.bool, device=device)
    size = prompt.size
    chosen = torch.arange(layout.plan, device=device) <= steps[:, None]
    if layout.plan > 1:
        chosen[:, -1] = True
    parts = [prompt.class_mask, prompt.io_mask, prompt.task_mask, prompt.tool_mask, chosen]
    if layout.text:
        parts.append(
            torch.ones(size, layout.text, dtype=torch.bool, device=device) if text_mask is None else text_mask
        )
    present = torch.cat(parts, dim=1)
    own = torch.eye(length, dtype=torch.bool, device=device)
    return (rule & present[:, None, :] & present[:, :, None]) | own
