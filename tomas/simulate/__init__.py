"""A discrete-event simulator: plans on bins whose capacity changes, as Airflow would run them."""

from tomas.simulate.decision import Candidate, Decision, Policy
from tomas.simulate.engine import decisions, simulate
from tomas.simulate.latency import Latency
from tomas.simulate.result import BinRun, FailedTry, JobRun, JobState, Overload, SimulationResult, StepState, Usage
from tomas.simulate.workload import SIMULATED_RESOURCES, Job, SimBin, SimStep, Stretch, Workload

__all__ = [
    "SIMULATED_RESOURCES",
    "BinRun",
    "Candidate",
    "Decision",
    "FailedTry",
    "Job",
    "JobRun",
    "JobState",
    "Latency",
    "Overload",
    "Policy",
    "SimBin",
    "SimStep",
    "SimulationResult",
    "StepState",
    "Stretch",
    "Usage",
    "Workload",
    "decisions",
    "simulate",
]
