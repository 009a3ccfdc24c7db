"""The store: one Postgres database that holds what TOMAS knows, plans, reserves and measures.

All tables lie in the schema ``tomas``; the files in ``sql/`` make them.
"""

from tomas.store.arrays import SampleArrays
from tomas.store.catalogue import CatalogueMixin
from tomas.store.citation import cite_samples
from tomas.store.history import HistoryMixin
from tomas.store.migrations import MigrationsMixin
from tomas.store.models import ModelsMixin
from tomas.store.plans import PlansMixin, ReadFrom
from tomas.store.readings import ReadingsMixin
from tomas.store.records import RecordsMixin
from tomas.store.reservations import ReservationsMixin, StoredReservation
from tomas.store.retention import Pruned, RetentionMixin, TableStats
from tomas.store.rollups import HOURS_PER_BATCH, HourOfBin, Spread
from tomas.store.samples import CopyReport, SamplesMixin

__all__ = [
    "HOURS_PER_BATCH",
    "CopyReport",
    "HourOfBin",
    "Pruned",
    "ReadFrom",
    "SampleArrays",
    "Spread",
    "Store",
    "StoredReservation",
    "TableStats",
    "cite_samples",
]


class Store(
    MigrationsMixin,
    CatalogueMixin,
    PlansMixin,
    ReservationsMixin,
    RecordsMixin,
    HistoryMixin,
    ModelsMixin,
    SamplesMixin,
    ReadingsMixin,
    RetentionMixin,
):
    """Everything in Postgres, behind typed methods; each is one transaction, but for bulk loads and rollups.

    Cheap to make: it connects at the first use. Safe to share between threads, and to inherit through fork.
    A pooled connection that died is replaced once, unnoticed. Errors are of the tree in ``tomas.errors`` and
    never show a password.
    """
