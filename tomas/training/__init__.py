"""Learning from runs: refitting what plans rest on, and data to train planners on."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tomas.training.retrain import retrain

__all__ = ["retrain"]


def __getattr__(name: str) -> Any:
    # The data generator must be usable without loading sizers and the store.
    if name == "retrain":
        from tomas.training.retrain import retrain

        return retrain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
