"""Honest numbers of the neural planner: plans, allocations, confidence, and what each panel is worth."""
