"""What a fresh stack needs in its databases: TOMAS's schema and data, and the broker's tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tomas.schema import Bin, Outcome, PlanStatus, Resources, WorkerClass, utc_now

if TYPE_CHECKING:
    from tomas.store import Store

__all__ = ["close_interrupted", "declare_queues", "fit_to_host", "seed_store"]

_UNFINISHED = (PlanStatus.RELEASED, PlanStatus.RUNNING)
_RECENT_PLANS = 100
_MEMORY_SHARE = 0.75
"""Part of the host's memory that all bins together may promise; Airflow itself needs the rest."""


def fit_to_host(classes: Iterable[WorkerClass], host_mem_gb: float) -> list[WorkerClass]:
    """Shrink the memory of the bins in proportion where together they promise more than the host has."""
    given = list(classes)
    promised = sum(item.capacity.cpu_mem_gb * len(item.bins) for item in given)
    factor = min(1.0, host_mem_gb * _MEMORY_SHARE / promised) if promised > 0 else 1.0
    return given if factor == 1.0 else [_scaled(item, factor) for item in given]


def _scaled(item: WorkerClass, factor: float) -> WorkerClass:
    capacity = item.capacity.model_dump()
    capacity["cpu_mem_gb"] = round(capacity["cpu_mem_gb"] * factor, 2)
    smaller = Resources(**capacity)
    bins = [one.model_copy(update={"capacity": smaller}) for one in item.bins]
    return item.model_copy(update={"capacity": smaller, "bins": bins})


def seed_store(store: Store) -> list[Bin]:
    """Migrate TOMAS's base and load registry, profiles and worker classes of the shipped files; repeatable.

    :return: the bins, for which workers and pools are needed.
    """
    from tomas.config import get_settings
    from tomas.telemetry.host import host_capacity
    from tomas.tools.data import load_profiles, load_worker_classes
    from tomas.tools.registry import Registry

    data = get_settings().data
    store.migrate()
    store.upsert_tools(Registry.load(data.tools_path))
    store.replace_profiles(load_profiles(data.profiles_path))
    classes = load_worker_classes(data.worker_classes_path)
    store.upsert_worker_classes(fit_to_host(classes, host_capacity().cpu_mem_gb), prune=True)
    return store.bins()


def close_interrupted(store: Store) -> int:
    """Mark the tries as killed that a stack which is gone left running, and free what they had reserved.

    Only right while no worker of this store runs: after a crash, before the workers start.

    :return: how many there were.
    """
    unfinished = [plan for plan in store.plans(_RECENT_PLANS) if plan.status in _UNFINISHED]
    left = [record for plan in unfinished for record in store.records(plan.id) if record.ended_at is None]
    for record in left:
        usage = record.usage.model_copy(
            update={"outcome": Outcome.KILLED, "evidence": "the stack that ran it was stopped"}
        )
        ended = {"usage": usage, "ended_at": utc_now(), "error": "Stopped with the stack that ran it."}
        store.save_record(record.model_copy(update=ended))
        store.release_reservation(record.plan_id, record.step_id)
    return len(left)


def declare_queues(broker_url: str, queues: Iterable[str]) -> None:
    """Make the broker's tables and queues before any worker starts.

    Workers that start together would race for the same CREATE TABLE, and the loser would end. Messages that
    workers of a former run had taken are deleted: nobody will ever acknowledge them.
    """
    from kombu import Connection  # type: ignore[import-untyped]
    from sqlalchemy import create_engine, text

    with Connection(broker_url) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_declare(queue=queue)
        # The channel leaves its session open: its connection would be given back when the server is long gone, at
        # whatever moment the garbage collector comes by.
        session = channel.session
        channel.close()
        session.close()
        session.get_bind().dispose()
    engine = create_engine(broker_url.removeprefix("sqla+"))
    with engine.begin() as database:
        database.execute(text("DELETE FROM kombu_message WHERE NOT visible"))
    engine.dispose()
