"""Tools, bins and prices of the verifier's benchmark, and the case: all that the verifier is given at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tomas.schema import Bin, InputSizeThresholds, Plan, Port, Reservation, Resources, Tool
from tomas.verify import Routes, verify_plan

__all__ = ["BINS", "PRICES", "TOOLS", "Case"]

PRICES = {"cpu_core_hour": 0.04, "mem_gb_hour": 0.005, "gpu_hour": 2.0}
_SIZES = InputSizeThresholds(small_max_bytes=1000, medium_max_bytes=100_000)


def _tool(name: str, inputs: Sequence[tuple[str, str, bool]], output: tuple[str, str], **more: Any) -> Tool:
    return Tool(
        name=name,
        family="bench",
        description=f"{name}.",
        inputs=[Port(name=port, type=media, required=required) for port, media, required in inputs],
        outputs=[Port(name=output[0], type=output[1])],
        input_size=_SIZES,
        **more,
    )


TOOLS = {
    tool.name: tool
    for tool in (
        _tool(
            "blur",
            [("images", "image/*", True)],
            ("images", "image/png"),
            arguments={
                "type": "object",
                "additionalProperties": False,
                "required": ["radius"],
                "properties": {"radius": {"type": "integer", "minimum": 1}},
            },
        ),
        _tool("label", [("images", "image/*", True)], ("labels", "application/jsonl")),
        _tool("caption", [("images", "image/png", True)], ("captions", "text/plain")),
        _tool(
            "shorten",
            [("text", "text/plain", True)],
            ("text", "text/plain"),
            arguments={
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                    "style": {"enum": ["plain", "brief"]},
                },
            },
        ),
        _tool(
            "report",
            [("images", "image/*", False), ("labels", "application/jsonl", False), ("text", "text/plain", True)],
            ("report", "text/html"),
        ),
    )
}
BINS = [
    Bin(name=f"b{i}", worker_class=kind, queue=f"q{i}", pool=f"p{i}", capacity=capacity)
    for i, (kind, capacity) in enumerate(
        [
            ("small", Resources(cpu_cores=4, cpu_mem_gb=8)),
            ("small", Resources(cpu_cores=4, cpu_mem_gb=8)),
            ("odd", Resources(cpu_cores=3, cpu_mem_gb=7.7)),
            ("large", Resources(cpu_cores=64, cpu_mem_gb=512)),
            ("gpu", Resources(cpu_cores=16, cpu_mem_gb=64, gpu_sm=100, gpu_mem_gb=80)),
            ("gpu", Resources(cpu_cores=16, cpu_mem_gb=64, gpu_sm=100, gpu_mem_gb=80)),
        ]
    )
]


@dataclass(frozen=True)
class Case:
    """All that the verifier is given."""

    plan: Plan
    bins: list[Bin]
    reservations: list[Reservation]
    tools: Mapping[str, Tool] = field(default_factory=lambda: TOOLS)
    prices: Mapping[str, float] | None = None
    routes: Routes | None = None

    def of_plan(self, **fields: Any) -> Case:
        """The same with other fields of the plan, past pydantic."""
        return replace(self, plan=self.plan.model_copy(update=fields))

    def of_request(self, **fields: Any) -> Case:
        """The same with other fields of the request, past pydantic."""
        return self.of_plan(request=self.plan.request.model_copy(update=fields))

    def of_step(self, index: int, **fields: Any) -> Case:
        """The same with other fields of one step, past pydantic."""
        steps = list(self.plan.steps)
        steps[index] = steps[index].model_copy(update=fields)
        return self.of_plan(steps=steps)

    def of_curve(self, index: int, **fields: Any) -> Case:
        """The same with other fields of one forecast, past pydantic."""
        curves = list(self.plan.forecast)
        curves[index] = curves[index].model_copy(update=fields)
        return self.of_plan(forecast=curves)

    def verify(self) -> None:
        """Run the verifier under test; PlanRejected if it refuses."""
        verify_plan(self.plan, self.tools, self.bins, self.reservations, prices=self.prices, routes=self.routes)
