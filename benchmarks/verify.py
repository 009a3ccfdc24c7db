"""Generate good and corrupted plans by the million, and see that the verifier tells them apart.

Every base is a plan that is good by construction; it has to pass. Each of its two variants holds one labelled
corruption; it has to be refused, with a reason that names the corruption. The last line is one line of JSON; the
exit status is 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from benchmarks.verify_judge import broken
from benchmarks.verify_kinds import Kind, kinds_of
from benchmarks.verify_plans import good_case
from benchmarks.verify_world import Case
from tomas.errors import PlanRejected

__all__ = ["Tally", "check_block", "names"]

_BLOCK = 1500
"""Plans per task of a worker process."""
_LARGE_EVERY, _LARGE = 16_000, 10_000
"""One base in so many has as many steps."""
_MIDDLE_EVERY = 200
_JUDGED_STEPS = 20
_EXAMPLES = 10


@dataclass
class Tally:
    """What became of the plans."""

    plans: int = 0
    good: int = 0
    violations_released: int = 0
    good_refused: int = 0
    rejected: int = 0
    unnamed_refusals: int = 0
    """Refused for a reason that does not name the corruption."""
    other_errors: int = 0
    """Something else than PlanRejected was raised."""
    mislabelled: int = 0
    """The second opinion contradicts the generator."""
    judged: int = 0
    refused_at_schema: int = 0
    """Corruptions that pydantic too refuses, where it is asked."""
    steps: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
        self.kinds.update(other.kinds)
        self.examples = (self.examples + other.examples)[:_EXAMPLES]

    @property
    def passed(self) -> bool:
        return not (
            self.violations_released
            or self.good_refused
            or self.unnamed_refusals
            or self.other_errors
            or self.mislabelled
        )


def check_block(seed: int, first: int, last: int) -> Tally:
    """Plans ``first`` to ``last`` (half-open) of a seed; three in a row share a base."""
    tally = Tally()
    for base in range(first // 3, -(-last // 3)):
        rng = random.Random(f"{seed}:{base}")  # noqa: S311
        case = good_case(rng, _steps(base, rng))
        for role in range(3):
            if not first <= 3 * base + role < last:
                continue
            tally.plans += 1
            tally.steps += len(case.plan.steps)
            where = f"seed {seed}, plan {3 * base + role}"
            if role == 0:
                _good(tally, case, where)
            else:
                _bad(tally, case, base, role, rng, where)
    return tally


def _steps(base: int, rng: random.Random) -> int:
    if base % _LARGE_EVERY == 0:
        return _LARGE
    return rng.randint(80, 120) if base % _MIDDLE_EVERY == 1 else rng.randint(1, 12)


def _good(tally: Tally, case: Case, where: str) -> None:
    tally.good += 1
    if len(case.plan.steps) <= _JUDGED_STEPS:
        tally.judged += 1
        for fault in broken(case):
            tally.mislabelled += 1
            tally.examples.append(f"{where}: good, but {fault}")
            break
    try:
        case.verify()
    except PlanRejected as error:
        tally.good_refused += 1
        tally.examples.append(f"{where}: good, but refused: {error.what[:300]}")
    except Exception as error:  # noqa: BLE001 - this is what is counted
        tally.other_errors += 1
        tally.examples.append(f"{where}: good, but raised {error!r:.300}")


def _bad(tally: Tally, case: Case, base: int, role: int, rng: random.Random, where: str) -> None:
    made, kind = _corrupted(case, base, role, rng)
    where = f"{where}, {kind.name}"
    tally.kinds[kind.name] += 1
    if kind.judged and len(case.plan.steps) <= _JUDGED_STEPS:
        tally.judged += 1
        if next(broken(made), None) is None:
            tally.mislabelled += 1
            tally.examples.append(f"{where}: nothing is broken")
    if kind.of_schema:
        tally.refused_at_schema += _refused_at_schema(made)
    try:
        made.verify()
    except PlanRejected as error:
        tally.rejected += 1
        if not names(error.what, kind):
            tally.unnamed_refusals += 1
            tally.examples.append(f"{where}: refused for another reason: {error.what[:300]}")
    except Exception as error:  # noqa: BLE001 - this is what is counted
        tally.other_errors += 1
        tally.examples.append(f"{where}: raised {error!r:.300}")
    else:
        tally.violations_released += 1
        tally.examples.append(f"{where}: released")


def names(refusal: str, kind: Kind) -> bool:
    """Whether a refusal names the corruption, and was not caused by stumbling over it."""
    return re.search(kind.says, refusal) is not None and "cannot be checked further" not in refusal


def _corrupted(case: Case, base: int, role: int, rng: random.Random) -> tuple[Case, Kind]:
    """The kind whose turn it is, or the next that finds an occasion in this case."""
    heavy = base % _LARGE_EVERY == 0 and role == 1
    kinds = kinds_of(heavy=heavy)
    turn = base // _LARGE_EVERY if heavy else 2 * base + role
    for i in range(len(kinds)):
        kind = kinds[(turn + i) % len(kinds)]
        made = kind.corrupt(case, rng)
        if made is not None:
            return made, kind
    raise AssertionError("kinds that need no occasion exist")


def _refused_at_schema(case: Case) -> bool:
    models: list[BaseModel | None] = [case.plan, *case.bins, *case.reservations, *case.tools.values()]
    for model in models:
        if model is None:
            return True
        try:
            type(model).model_validate(model.model_dump(warnings=False))
        except Exception:  # noqa: BLE001 - ValidationError, or what dumping meets
            return True
    return False


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--plans", type=int, default=100_000, help="how many plans are checked (default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal plans (default 0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    options = parser.parse_args()
    if options.plans < 1 or options.jobs < 1:
        parser.error("--plans and --jobs are at least 1")
    print(f"{options.plans} plans, seed {options.seed}, {options.jobs} processes", flush=True)
    begin = said = time.monotonic()
    tally = Tally()
    for part in _parts(options.plans, options.seed, options.jobs):
        tally.add(part)
        if time.monotonic() - said >= 10.0:
            said = time.monotonic()
            left = (said - begin) / tally.plans * (options.plans - tally.plans)
            share = 100 * tally.plans / options.plans
            faults = f"{tally.violations_released} bad released, {tally.good_refused} good refused"
            print(f"{tally.plans} checked ({share:.0f} %), {faults}, about {left:.0f} s left", flush=True)
    for line in tally.examples:
        print(line)
    figures = {name: value for name, value in vars(tally).items() if isinstance(value, int)}
    seconds = round(time.monotonic() - begin, 1)
    print(json.dumps({**figures, "seconds": seconds, "kinds": dict(sorted(tally.kinds.items()))}))
    sys.exit(0 if tally.passed else 1)


def _parts(plans: int, seed: int, jobs: int) -> Iterator[Tally]:
    blocks = [(seed, first, min(first + _BLOCK, plans)) for first in range(0, plans, _BLOCK)]
    if jobs == 1:
        for block in blocks:
            yield check_block(*block)
        return
    with multiprocessing.Pool(jobs) as pool:
        yield from pool.imap_unordered(_check, blocks)


def _check(block: tuple[int, int, int]) -> Tally:
    return check_block(*block)


if __name__ == "__main__":
    main()
