"""The worker sampler: how much of each bin is free, read from its host and from the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from tomas.errors import ConfigError, StoreUnavailable
from tomas.schema import Bin, ExecutionRecord, Reservation, Resources, Sample, utc_now
from tomas.store import HOURS_PER_BATCH, Store
from tomas.telemetry.host import HostMeter

__all__ = ["Sampler"]

log = logging.getLogger(__name__)

_ZERO = Resources()


class Sampler:
    """Writes one sample per bin and interval: ``free = declared capacity - background - reserved``.

    **Reserved** is what active reservations hold of the bin at that instant, running steps that overran included.

    **Background** is the load of everybody else. The host's use, less that of TOMAS's own steps, falls first on
    what no bin of this host has declared; the rest falls on the bins in proportion to their capacity, so it is
    counted once. A GPU is a bin's alone. TOMAS's own steps are the running execution records of these bins that
    hold an active reservation: that capacity is subtracted as reserved, so it must not count again. Their use is
    the CPU time between two readings of the record and its peak memory. A running step without a reservation
    counts as background.

    Instants are multiples of the interval, and the store keeps one reading per bin and instant: a second sampler
    for the same bins, or a quick restart, adds nothing twice.

    **Clocks.** A reading more than five minutes ahead of Postgres's clock is refused and kept in ``rejected_row``;
    so is one that lies in an hour that retention has closed. A clock that was set back repeats instants: their
    first readings stay, until the clock has caught up. A bin that leaves the store keeps its history; its readings
    stop when the sampler is started anew.

    :param bins: bins on this host.
    :param interval_s: seconds between readings.
    :param keep: how long readings are kept; older ones are removed about once an hour, but for those that plans
        cite. Rollups are made every five minutes, and stay.
    """

    def __init__(
        self,
        store: Store,
        bins: Sequence[Bin],
        interval_s: float = 5.0,
        *,
        meter: HostMeter | None = None,
        keep: timedelta = timedelta(days=14),
    ) -> None:
        if not bins:
            raise ConfigError(
                "The sampler has no bins to sample.", remedy="Run: tomas db seed, or name bins that the store has."
            )
        self._store = store
        self._bins = list(bins)
        self._interval_s = interval_s
        self._meter = meter or HostMeter()
        self._keep = keep
        self._own: dict[tuple[str, str, int], tuple[float, float, float]] = {}
        self._pruned_at: datetime | None = None
        self._rolled_up_at: datetime | None = None

    def sample_once(self, now: datetime | None = None) -> list[Sample]:
        """Read all bins once, store the samples and return them.

        :param now: instant of the reading; None takes the clock. It is rounded down to the interval.
        :raises StoreUnavailable: Postgres is down or slow; nothing was written.
        """
        instant = now or utc_now()
        at = datetime.fromtimestamp(instant.timestamp() // self._interval_s * self._interval_s, UTC)
        names = {item.name for item in self._bins}
        reservations = [
            item
            for item in self._store.reservations(instant, instant + timedelta(milliseconds=1))
            if item.bin in names
        ]
        holders = {(item.plan_id, item.step_id) for item in reservations}
        running = [
            record
            for record in self._store.running_records()
            if record.bin in names and (record.plan_id, record.step_id) in holders
        ]
        samples = self._samples(at, reservations, self._use_of(running))
        report = self._store.copy_samples(samples, now=now, writers=1)
        refused = {reason: count for reason, count in report.rejected.items() if reason != "conflict"}
        if refused:
            log.warning(
                "Readings were refused (%s); rejected_row keeps them. Compare this host's clock with Postgres.",
                ", ".join(f"{count} for {reason}" for reason, count in sorted(refused.items())),
            )
        self._tidy(instant)
        return samples

    def run(self, stop_event: threading.Event) -> None:
        """Sample at every multiple of the interval until ``stop_event`` is set.

        While Postgres is away it warns and goes on; the missing readings are lost.
        """
        while not stop_event.is_set():
            try:
                self.sample_once()
            except StoreUnavailable as error:
                log.warning("No sample was stored. %s", error)
            stop_event.wait(self._interval_s - utc_now().timestamp() % self._interval_s)

    def _samples(
        self, at: datetime, reservations: Iterable[Reservation], own: dict[str, Resources]
    ) -> list[Sample]:
        reserved: dict[str, Resources] = {}
        for item in reservations:
            reserved[item.bin] = reserved.get(item.bin, _ZERO) + item.need
        declared = _total(item.capacity for item in self._bins)
        others = self._meter.usage().minus(_total(own.values()))
        pressing = others.minus(self._meter.capacity().minus(declared))
        samples: list[Sample] = []
        for place in self._bins:
            held = reserved.get(place.name, _ZERO)
            gpu = self._gpu_background(place, own.get(place.name, _ZERO))
            background = Resources(
                cpu_cores=_share(pressing.cpu_cores, place.capacity.cpu_cores, declared.cpu_cores),
                cpu_mem_gb=_share(pressing.cpu_mem_gb, place.capacity.cpu_mem_gb, declared.cpu_mem_gb),
                gpu_sm=gpu.gpu_sm,
                gpu_mem_gb=gpu.gpu_mem_gb,
            )
            free = place.capacity.minus(background).minus(held)
            samples.append(Sample(bin=place.name, at=at, free=free, background=background, reserved=held))
        return samples

    def _gpu_background(self, item: Bin, own: Resources) -> Resources:
        return _ZERO if item.gpu_index is None else self._meter.gpu_usage(item.gpu_index).minus(own)

    def _use_of(self, running: Iterable[ExecutionRecord]) -> dict[str, Resources]:
        """What TOMAS's own steps use now, by bin."""
        seen: dict[tuple[str, str, int], tuple[float, float, float]] = {}
        use: dict[str, Resources] = {}
        for record in running:
            key = (record.plan_id, record.step_id, record.try_number)
            usage = record.usage
            wall_s = usage.wall_ms / 1000.0
            cores = usage.cpu_seconds / wall_s if wall_s > 0 else 0.0
            if key in self._own:
                last_wall_s, last_cpu_seconds, last_cores = self._own[key]
                if wall_s > last_wall_s:
                    cores = max(0.0, usage.cpu_seconds - last_cpu_seconds) / (wall_s - last_wall_s)
                else:
                    cores = last_cores
            seen[key] = (wall_s, usage.cpu_seconds, cores)
            use[record.bin] = use.get(record.bin, _ZERO) + Resources(
                cpu_cores=cores,
                cpu_mem_gb=usage.peak_mem_gb,
                gpu_sm=usage.gpu_sm_mean,
                gpu_mem_gb=usage.gpu_peak_mem_gb,
            )
        self._own = seen
        return use

    def _tidy(self, now: datetime) -> None:
        """Roll up and prune, never for long: the next reading waits for it."""
        if self._rolled_up_at is None or not timedelta(0) <= now - self._rolled_up_at <= timedelta(minutes=5):
            if self._store.refresh_rollups(batches=1) == HOURS_PER_BATCH:
                return  # more is waiting: go on after the next reading
            self._rolled_up_at = now
        if self._pruned_at is None or now - self._pruned_at > timedelta(hours=1):
            self._store.prune_samples(now - self._keep)
            self._pruned_at = now


def _total(amounts: Iterable[Resources]) -> Resources:
    total = _ZERO
    for amount in amounts:
        total = total + amount
    return total


def _share(amount: float, part: float, whole: float) -> float:
    return amount * part / whole if whole > 0 else 0.0
