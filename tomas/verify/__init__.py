"""The independent verifier: a plan that it refuses is never released."""

from tomas.verify.checker import MAX_LISTED, verify_plan

__all__ = ["MAX_LISTED", "verify_plan"]
