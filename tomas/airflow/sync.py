"""Airflow's pools as the bins need them."""

from __future__ import annotations

from collections.abc import Iterable

from tomas.airflow.routing import UNROUTED_POOL
from tomas.errors import RoutingError
from tomas.schema import Bin
from tomas.schema.resources import POOL_SIZE

__all__ = ["sync_pools", "wanted_pools"]

_MARK = "TOMAS"
"""How the description of each pool of ours begins."""


def wanted_pools(bins: Iterable[Bin]) -> dict[str, tuple[int, str]]:
    """Slots and description by pool name.

    A bin's pool has 100 slots, hundredths of its capacity. Bins may share a pool only if they are one
    worker's; two bins that name the same pool would promise capacity that neither has.

    :raises RoutingError: two bins name one pool.
    """
    wanted = {UNROUTED_POOL: (1, f"{_MARK}: steps that no plan routed; they refuse to work.")}
    for item in bins:
        if item.pool in wanted:
            raise RoutingError(
                f"Bin {item.name} names the pool {item.pool}, which is already taken.",
                remedy="Give every bin a pool of its own in worker_classes.json, then run `tomas db seed`.",
            )
        wanted[item.pool] = (POOL_SIZE, f"{_MARK} bin {item.name}, hundredths of its capacity.")
    return wanted


def sync_pools(bins: Iterable[Bin], *, dry_run: bool = False) -> list[str]:
    """Create missing pools and correct those that differ; run it where Airflow's metadata base is reachable.

    Pools of ours whose bin is gone are named, not deleted: tasks may still be queued there.

    :param dry_run: only say what would change.
    :return: one line per difference, empty when every pool is right.
    :raises RoutingError: two bins name one pool, or Airflow's metadata base cannot be reached.
    """
    wanted = wanted_pools(bins)
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    lines: list[str] = []
    would = "would be " if dry_run else ""
    try:
        with create_session() as session:
            present = {pool.pool: pool for pool in session.scalars(select(Pool))}
            for name, (slots, description) in wanted.items():
                pool = present.get(name)
                if pool is None:
                    lines.append(f"pool {name}: {would}created with {slots} slots")
                    if not dry_run:
                        session.add(Pool(pool=name, slots=slots, description=description, include_deferred=False))
                    continue
                before = (pool.slots, pool.include_deferred)
                if before != (slots, False):
                    lines.append(
                        f"pool {name}: {would}changed from {before[0]} slots"
                        f"{' with deferred tasks counted' if before[1] else ''} to {slots} slots"
                    )
                    if not dry_run:
                        pool.slots, pool.include_deferred = slots, False
            lines.extend(
                f"pool {name}: belongs to no bin any more; delete it when nothing is queued there"
                for name, pool in present.items()
                if name not in wanted and (pool.description or "").startswith(_MARK)
            )
            if dry_run:
                session.rollback()
    except SQLAlchemyError as error:
        raise RoutingError(
            f"Airflow's metadata base could not be read ({type(error).__name__}).",
            remedy="Set AIRFLOW__DATABASE__SQL_ALCHEMY_CONN as the scheduler has it, and run `airflow db migrate`.",
        ) from None
    return lines
