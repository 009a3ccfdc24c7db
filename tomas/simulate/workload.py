"""What is simulated: bins whose capacity changes over time, workloads made from plans, and jobs that arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tomas.errors import DataError
from tomas.schema import POOL_SIZE, RESOURCE_NAMES, Bin, Plan, Resources, pool_slots

__all__ = ["NEVER", "SIMULATED_RESOURCES", "Job", "SimBin", "SimStep", "Stretch", "Workload", "priorities"]

SIMULATED_RESOURCES = (*RESOURCE_NAMES, "slots")
"""What a bin has: the four resources, and the slots of its pool."""

NEVER = POOL_SIZE * 1000
"""Slots of a step on a bin that lacks a resource the step needs: more than any pool has."""


@dataclass(frozen=True)
class Stretch:
    """What a bin has free from ``start_ms`` until its next stretch; the last one holds for ever."""

    start_ms: float
    free: tuple[float, float, float, float]
    """In the order of :data:`tomas.schema.RESOURCE_NAMES`."""
    slots: int = POOL_SIZE
    lost: bool = False
    """The worker is gone: what runs on it fails, and nothing starts."""


@dataclass(frozen=True)
class SimBin:
    """A bin and what it has over time. ``stretches`` ascend, the first starts at 0."""

    name: str
    worker_class: str
    capacity: Resources
    """As declared; the slots of a step placed here are its dominant share of it."""
    stretches: tuple[Stretch, ...]
    redeclared: bool = False
    """Whether ``capacity`` differs from the one that plans were made for: their slots are then derived anew."""

    def __post_init__(self) -> None:
        starts = [stretch.start_ms for stretch in self.stretches]
        if not starts or starts[0] != 0.0 or any(a >= b for a, b in pairwise(starts)):
            raise DataError(
                f"The stretches of bin {self.name} start at {starts}.",
                remedy="Let the first start at 0, and ascend.",
            )
        for stretch in self.stretches:
            if stretch.slots < 0 or not all(0 <= value < float("inf") for value in stretch.free):
                raise DataError(
                    f"Bin {self.name} has {stretch.free}, {stretch.slots} slots from {stretch.start_ms:g} ms on.",
                    remedy="Give finite amounts that are not negative.",
                )

    @classmethod
    def of(cls, place: Bin) -> SimBin:
        """A bin that has its declared capacity, and a full pool, throughout."""
        free = (*place.capacity,)
        assert len(free) == 4  # noqa: S101  (for the type checker)
        return cls(place.name, place.worker_class, place.capacity, (Stretch(0.0, free),))

    def slots_for(self, need: Sequence[float]) -> int:
        """Pool slots that a step of this need takes here; :data:`NEVER` where a resource is lacking."""
        wanted = Resources(**dict(zip(RESOURCE_NAMES, need, strict=True)))
        try:
            return pool_slots(wanted, self.capacity)
        except ValueError:
            return NEVER


@dataclass(frozen=True)
class SimStep:
    """One step of a workload."""

    id: str
    bin: str
    slots: int
    need: tuple[float, float, float, float]
    p50_ms: float
    p90_ms: float
    after: tuple[int, ...] = ()
    """Indexes of the steps that must have ended."""
    priority: int = 1
    tool: str = ""
    planned_start_ms: float = 0.0


@dataclass(frozen=True)
class Workload:
    """What arrives with each job: a plan's steps as the simulator needs them."""

    name: str
    steps: tuple[SimStep, ...]
    hand_over_ms: float = 0.0
    """From a step's end until its followers, and those that wait for its room, may start."""
    deadline_ms: float | None = None
    """Counted from the arrival."""
    planned_makespan_ms: float | None = None
    title: str = ""

    def __post_init__(self) -> None:
        for index, step in enumerate(self.steps):
            if any(not 0 <= before < len(self.steps) or before == index for before in step.after):
                raise DataError(
                    f"Step {step.id} of {self.name} depends on a step that is not there.",
                    remedy="Correct the plan.",
                )
        _refuse_cycles(self)

    @classmethod
    def of(cls, plan: Plan, bins: Mapping[str, SimBin], *, name: str | None = None) -> Workload:
        """A plan's steps in its order.

        A job of this workload arrives when its first step can be queued: the plan's ``release_at``. Of its
        deadline, which counts from the request, T_inf and dispatch lag are taken off.

        :param bins: what the plan runs on, by name.
        :raises DataError: the plan names an unknown bin, or its dependencies are no graph.
        """
        index = {step.id: i for i, step in enumerate(plan.steps)}
        after: list[tuple[int, ...]] = []
        for step in plan.steps:
            if step.bin not in bins:
                raise DataError(
                    f"Plan {plan.id[:8]} places step {step.id} on the bin {step.bin}, which is not known here "
                    f"(known: {', '.join(sorted(bins)) or 'none'}).",
                    remedy=f"Add it with --add {step.worker_class}=1, or name it in the worker classes file "
                    "(TOMAS__DATA__WORKER_CLASSES_PATH), or read the store's bins with --store.",
                )
            missing = [name for name in step.depends_on if name not in index]
            if missing:
                raise DataError(
                    f"Step {step.id} of plan {plan.id[:8]} depends on {missing[0]}, which is not in the plan.",
                    remedy="Make the plan anew with `tomas plan`.",
                )
            after.append(tuple(sorted({index[name] for name in step.depends_on})))
        weights = priorities(after, plan.request.priority)
        steps = []
        for i, step in enumerate(plan.steps):
            place = bins[step.bin]
            final = step.allocation.final
            need = (final.cpu_cores, final.cpu_mem_gb, final.gpu_sm, final.gpu_mem_gb)
            steps.append(
                SimStep(
                    step.id,
                    step.bin,
                    place.slots_for(need) if place.redeclared else step.pool_slots,
                    need,
                    step.latency_p50_ms,
                    step.latency_p90_ms,
                    after[i],
                    weights[i],
                    step.tool,
                    step.start_ms,
                )
            )
        deadline_s = plan.request.deadline_s
        wait_ms = plan.t_inf_predicted_ms + plan.dispatch_lag_predicted_ms
        return cls(
            name or plan.id[:8],
            tuple(steps),
            plan.hand_over_predicted_ms,
            None if deadline_s is None else max(0.0, deadline_s * 1000.0 - wait_ms),
            plan.makespan_ms,
            plan.request.task,
        )


@dataclass(frozen=True)
class Job:
    """One arrival of a workload."""

    workload: Workload
    arrival_ms: float = 0.0
    work_ms: tuple[float, ...] | None = None
    """How long each step takes at full speed, such as a measured run's; None draws it from p50 and p90."""


def priorities(after: Sequence[Sequence[int]], plan_priority: int = 1) -> list[int]:
    """Weight of each step in its pool's queue, as Airflow gets it from TOMAS's routing.

    The plan's priority times the number of steps that still depend on the step, itself included.
    """
    followers: list[list[int]] = [[] for _ in after]
    for index, before in enumerate(after):
        for parent in before:
            followers[parent].append(index)
    # One bit per step: a union of descendants is then one operation on integers, however large the plan.
    below = [0] * len(after)
    for index in reversed(_order(after)):
        bits = 0
        for child in followers[index]:
            bits |= below[child] | (1 << child)
        below[index] = bits
    return [plan_priority * (1 + bits.bit_count()) for bits in below]


def _order(after: Sequence[Sequence[int]]) -> list[int]:
    """Indexes so that predecessors come first; those in a cycle are left out."""
    waiting = [len(set(before)) for before in after]
    followers: list[list[int]] = [[] for _ in after]
    for index, before in enumerate(after):
        for parent in set(before):
            followers[parent].append(index)
    order = [index for index, count in enumerate(waiting) if not count]
    for index in order:
        for child in followers[index]:
            waiting[child] -= 1
            if not waiting[child]:
                order.append(child)
    return order


def _refuse_cycles(workload: Workload) -> None:
    order = set(_order([step.after for step in workload.steps]))
    if len(order) < len(workload.steps):
        stuck = [step.id for index, step in enumerate(workload.steps) if index not in order]
        raise DataError(
            f"The steps {', '.join(stuck[:10])} of {workload.name} depend on each other in a cycle.",
            remedy="Remove one of these dependencies.",
        )
