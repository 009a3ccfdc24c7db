"""What gate and pointer say at one position of a plan, and what is chosen by it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tomas.model.batch import END, REFUSE, STEP

__all__ = ["Reading"]


@dataclass(frozen=True)
class Reading:
    """What gate and pointer say at one position of the plan.

    :ivar gate: logits, (4,).
    :ivar tools: logits, (K,); what may not be chosen lies at -1e4.
    :ivar selectable: whether any may be chosen.
    """

    gate: Tensor
    tools: Tensor
    selectable: bool

    def wanted(self, chosen: int, most: int) -> int | None:
        """The tool to choose; None for the end, or before the first step a refusal.

        :param chosen: steps so far.
        :param most: steps that there may be.
        """
        if not self.selectable or chosen >= most:
            return None
        other = END if chosen else REFUSE
        return int(self.tools.argmax()) if float(self.gate[STEP]) >= float(self.gate[other]) else None
