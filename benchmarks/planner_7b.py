"""How fast a large configuration plans, and in how much memory: random weights, forced choices.

    python -m benchmarks.planner_7b [--config qwen2_5_7b] [--device cuda]

The network is built as configured, adapters included, without any file of its backbone: times and memory do not
depend on what the weights are. What is chosen is given, so that every plan has the same number of steps. The
tokenizer is one trained here, as the backbone's own is not needed either; it cuts texts into about as many tokens.
Times are wall time with the device idle before and after; one request at a time. The last line is one of JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.planner_speed_jobs import Job, jobs
from tomas.errors import ConfigError, TomasError
from tomas.model.batch import SHORT_TOKENS
from tomas.model.config import NeuralConfig, load_config
from tomas.model.decode import Decoder
from tomas.model.layout import layout_of
from tomas.model.network import PlannerNetwork
from tomas.model.prompt import build_prompt
from tomas.model.texts import TextTable
from tomas.model.tokenizer import TextTokenizer, train_tokenizer

_GB = 2.0**30
_console = Console(stderr=True)


@dataclass
class Times:
    """Milliseconds by part of a plan: one number per request, of steps one per step."""

    prompt: list[float] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    finish: list[float] = field(default_factory=list)
    plan: list[float] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit status is 2 if there is no such device or configuration."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planner_7b", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", default="qwen2_5_7b", help="a shipped configuration, or a YAML file")
    parser.add_argument("--device", default="cuda", help="as torch names it")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tools", type=int, default=30)
    parser.add_argument("--count", type=int, default=20, help="requests")
    parser.add_argument("--warm", type=int, default=3, help="requests before the clock starts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        config, device = load_config(options.config), _device(options.device)
    except TomasError as error:
        _console.print(f"[red]{error}[/]")
        return 2
    work = jobs(options.count, options.steps, options.tools, options.seed, config.model.limits)
    tokenizer = _tokenizer(work)
    torch.manual_seed(options.seed)
    network, built_s = _build(config, device)
    times = measure(network, tokenizer, [work[i % len(work)] for i in range(options.warm)], work)
    line = _line(network, times, device) | {"config": options.config, "steps": options.steps, "built_s": built_s}
    _show(line)
    print(json.dumps(line))
    return 0


def measure(network: PlannerNetwork, tokenizer: TextTokenizer, warm: Sequence[Job], work: Sequence[Job]) -> Times:
    """Plan all requests, their steps forced; what ``warm`` took is forgotten."""
    times = Times()
    with torch.inference_mode():
        for job in warm:
            _plan(network, tokenizer, job, Times())
        for job in work:
            _plan(network, tokenizer, job, times)
    return times


def _plan(network: PlannerNetwork, tokenizer: TextTokenizer, job: Job, times: Times) -> None:
    def timed(run: Callable[[], object], into: list[float]) -> None:
        _wait(network.device)
        begun = time.perf_counter()
        run()
        _wait(network.device)
        into.append((time.perf_counter() - begun) * 1000.0)

    made: list[Decoder] = []
    parts: tuple[list[float], list[float], list[float]] = ([], [], [])
    timed(lambda: made.append(Decoder(network, tokenizer, job.given)), parts[0])
    decoder = made[0]
    for tool in job.tools:
        timed(lambda tool=tool: decoder.choose(tool), parts[1])  # type: ignore[misc]
    timed(lambda: decoder.finish(lambda _: job.modes), parts[2])
    times.prompt += parts[0]
    times.step += parts[1]
    times.finish += parts[2]
    times.plan.append(sum(sum(part) for part in parts))
    times.positions.append(_positions(network, tokenizer, job))


def _positions(network: PlannerNetwork, tokenizer: TextTokenizer, job: Job) -> int:
    """Length of the prompt's sequence, with PLAN."""
    long, short = TextTable(network.config.model.tool_encoder.max_tokens), TextTable(SHORT_TOKENS)
    prompt, _ = build_prompt([job.given], tokenizer, network.config, long, short)
    return layout_of(prompt).prompt + 1


def _device(name: str) -> torch.device:
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("torch finds no GPU here.", remedy="Run it where there is one, or with --device cpu.")
    return device


def _tokenizer(work: Sequence[Job]) -> TextTokenizer:
    texts = [card.text for job in work for card in job.given.candidates] + [job.given.task for job in work]
    return train_tokenizer(texts)


def _build(config: NeuralConfig, device: torch.device) -> tuple[PlannerNetwork, float]:
    """Directly on the device, so that the host needs no room for the weights."""
    begun = time.perf_counter()
    with device:
        network = PlannerNetwork(config, weights=False)
    network.requires_grad_(False)
    network.eval()
    _wait(device)
    return network, round(time.perf_counter() - begun, 1)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _line(network: PlannerNetwork, times: Times, device: torch.device) -> dict[str, object]:
    cuda = device.type == "cuda"
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated(device) if cuda else resident
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    plan_ms = statistics.median(times.plan)
    return {
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "parameters": sum(value.numel() for value in network.parameters()),
        "weights_gb": round(weights / _GB, 3),
        "peak_gb": round(peak / _GB, 3),
        "prompt_positions_p50": int(statistics.median(times.positions)),
        "prompt_ms_p50": round(statistics.median(times.prompt), 2),
        "step_ms_p50": round(statistics.median(times.step), 2),
        "finish_ms_p50": round(statistics.median(times.finish), 2),
        "plan_ms_p50": round(plan_ms, 2),
        "plan_ms_max": round(max(times.plan), 2),
        "plans_per_s": round(1000.0 / statistics.fmean(times.plan), 2),
        "requests": len(times.plan),
    }


def _show(line: dict[str, object]) -> None:
    table = Table(title=f"{line['config']} on {line['device']}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in line.items():
        table.add_row(name, f"{value:,}" if isinstance(value, (int, float)) else str(value))
    _console.print(table)


if __name__ == "__main__":
    sys.exit(main())
