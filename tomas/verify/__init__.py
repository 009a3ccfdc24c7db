"""The independent verifier: a plan that it refuses is never released."""

from tomas.verify.checker import MAX_LISTED, verify_plan
from tomas.verify.routing import Routes

__all__ = ["MAX_LISTED", "Routes", "verify_plan"]
