#!/usr/bin/env python3
"""Compare two results of ``tomas evaluate --json``: a planner trained anew against the figures shipped.

python scripts/compare_evaluations.py SHIPPED FOUND [WITHIN]

The last line of each file is the JSON. The exit status is 1 where a figure is worse by more than WITHIN.
That is 0.05 by default, half a 95 % interval of a share near 0.7 of 400 requests; of one language there are
half as many, so half as much again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_BETTER = {
    "generated": {"node_f1": 1, "edge_f1": 1, "exact_set": 1, "exact_plan": 1, "tool_accuracy": 1},
    "written": {"node_f1": 1, "edge_f1": 1, "exact_set": 1, "exact_plan": 1, "tool_accuracy": 1},
    "allocation": {"mode_accuracy_right_tools": 1},
    "makespan_given": {"geometric": -1, "infeasible": -1},
}
"""Columns that are compared, by table; 1 where more is better."""
_OURS = ("model", "all", "en", "zh")
"""Rows that are compared: the planner's own, over all requests and by language."""
_WITHIN = 0.05
_FEWER = {"en": 1.5, "zh": 1.5}
"""By how much more figures of fewer requests may be off."""


def main(arguments: list[str]) -> int:
    """Print every compared figure; 0 where none is worse by more than is allowed."""
    if len(arguments) not in (2, 3):
        print(__doc__)
        return 2
    shipped, found = (_read(Path(name)) for name in arguments[:2])
    within = float(arguments[2]) if len(arguments) > 2 else _WITHIN
    compared = worse = 0
    for table, columns in _BETTER.items():
        for row in sorted(set(shipped.get(table, {})) & set(found.get(table, {})) & set(_OURS)):
            for column, sign in columns.items():
                before, after = shipped[table][row].get(column), found[table][row].get(column)
                if before is None or after is None:
                    continue
                bad = sign * (after - before) < -within * _FEWER.get(row, 1.0)
                compared, worse = compared + 1, worse + bad
                name = f"{table}, {row}, {column}"
                print(f"{name:48s} shipped {before:7.3f}  here {after:7.3f}  {'WORSE' if bad else ''}".rstrip())
    print(f"{compared} figures compared, {worse} worse by more than {within} (a language: {1.5 * within:g})")
    return int(worse > 0 or compared == 0)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8").strip().splitlines()[-1]))
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise SystemExit(f"{path} holds no result of `tomas evaluate --json`: {error}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
