"""The store: one Postgres database that holds what TOMAS knows, plans, reserves and measures.

All tables lie in the schema ``tomas``; the files in ``sql/`` make them.
"""

from tomas.store.catalogue import CatalogueMixin
from tomas.store.history import HistoryMixin
from tomas.store.migrations import MigrationsMixin
from tomas.store.plans import PlansMixin, ReadFrom
from tomas.store.reservations import ReservationsMixin, StoredReservation

__all__ = ["ReadFrom", "Store", "StoredReservation"]


class Store(MigrationsMixin, CatalogueMixin, PlansMixin, ReservationsMixin, HistoryMixin):
    """Everything in Postgres, behind typed methods; each is one transaction.

    Cheap to make: it connects at the first use. Safe to share between threads, and to inherit through fork.
    A pooled connection that died is replaced once, unnoticed. Errors are of the tree in ``tomas.errors`` and
    never show a password.
    """
