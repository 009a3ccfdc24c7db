"""Learning from runs: refitting what plans rest on, and data to train planners on."""
