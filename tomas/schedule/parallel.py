"""The parallel schedule-generation scheme: time goes forwards, and whatever fits is started.

Kolisch, "Serial and parallel resource-constrained project scheduling methods revisited", EJOR 1996. It never waits
for a better mode, which pays where many activities compete for full bins.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Sequence

from tomas.schedule.compiled import Compiled, Option

__all__ = ["place_in_parallel"]

_SAME_INSTANT = 1e-6


def place_in_parallel(
    compiled: Compiled, urgency: Sequence[float], thrift: Sequence[float]
) -> tuple[tuple[list[float], list[Option]] | None, int]:
    """Starts and modes of all activities, and how often it was asked whether one fits.

    There is no answer where some activity fits nowhere or a budget runs out.

    :param urgency: the larger, the earlier an activity is considered, among those that are ready.
    :param thrift: per bin; of the modes that fit now, the one with the least duration + ``thrift`` x area is taken.
    """
    timelines = [timeline.copy() for timeline in compiled.timelines]
    count = len(compiled)
    options = [
        sorted(group, key=lambda o: (o.duration + thrift[o.bin] * o.area, o.cost, o.index))
        for group in compiled.options
    ]
    starts = [0.0] * count
    chosen: list[Option | None] = [None] * count
    waiting = [len(before) for before in compiled.before]
    left = list(compiled.budgets)
    for row in compiled.least_uses:
        left = [room - least for room, least in zip(left, row, strict=True)]
    # What begins later than it is ready, what ends, and where a capacity changes.
    released = [(compiled.earliest[j], j) for j in range(count) if not waiting[j]]
    heapq.heapify(released)
    running: list[tuple[float, int]] = []
    changes = sorted({float(s) for c in compiled.problem.capacities.values() for s in c.starts_ms}, reverse=True)
    ready: list[tuple[int, float, int]] = []
    done, now, asked = 0, 0.0, 0
    while done < count:
        while running and running[0][0] <= now + _SAME_INSTANT:
            for follower in compiled.after[heapq.heappop(running)[1]]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heapq.heappush(released, (compiled.earliest[follower], follower))
        while released and released[0][0] <= now + _SAME_INSTANT:
            j = heapq.heappop(released)[1]
            insort(ready, (-compiled.priority[j], -urgency[j], j))
        kept: list[tuple[int, float, int]] = []
        for entry in ready:
            j = entry[2]
            least = compiled.least_uses[j]
            for option in options[j]:
                if left and any(
                    u - low > room + 1e-9 for u, low, room in zip(option.uses, least, left, strict=True)
                ):
                    continue
                asked += 1
                if timelines[option.bin].fits(option.need, now, option.duration):
                    starts[j], chosen[j] = now, option
                    timelines[option.bin].take(option.need, now, now + option.duration)
                    left = [room - use + low for room, use, low in zip(left, option.uses, least, strict=True)]
                    heapq.heappush(running, (now + option.duration, j))
                    done += 1
                    break
            else:
                kept.append(entry)
        ready = kept
        while changes and changes[-1] <= now + _SAME_INSTANT:
            changes.pop()
        following = [queue[0][0] for queue in (running, released) if queue] + changes[-1:]
        if done < count and not following:
            return None, asked
        now = min(following, default=now)
    return (starts, [option for option in chosen if option is not None]), asked
