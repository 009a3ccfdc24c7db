"""Training of the neural planner. Everything here may import torch."""
