"""Learning from runs: refitting what plans rest on."""

from tomas.training.retrain import retrain

__all__ = ["retrain"]
