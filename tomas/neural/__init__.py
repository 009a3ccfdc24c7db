"""The neural planner as a planner: requests and registries in, drafts out."""
