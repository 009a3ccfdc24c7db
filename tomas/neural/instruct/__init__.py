"""Plans from a stock instruct model: JSON under a grammar, no trained heads."""
