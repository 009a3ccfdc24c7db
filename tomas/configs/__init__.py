"""Configurations of the neural planner, shipped as YAML files."""
