"""The network's own choice: among right steps alone, the one it likes most; and training with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.unit.model import world
from tests.unit.training.neural.test_loop import config, fresh
from tomas.model.batch import collate
from tomas.model.example import PlanningExample, PlanningTarget, StepTarget
from tomas.model.network import PlannerNetwork
from tomas.training.neural import loop
from tomas.training.neural.loop import train
from tomas.training.neural.orders import has_choice, in_own_order


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _likes(network: PlannerNetwork, example: PlanningExample) -> list[list[float]]:
    network.eval()
    with torch.no_grad():
        found: list[list[float]] = network(collate([example], world.tokenizer(), network.config)).tools[0].tolist()
    return found


def _parallel(*tools: int) -> PlanningExample:
    """Steps of which none waits for another, but the last for all."""
    given = world.given("Caption, detect and enlarge the pictures, then summarize", "image/png")
    first = [StepTarget(tool) for tool in tools[:-1]]
    last = StepTarget(tools[-1], tuple(range(len(first))))
    return PlanningExample(given, PlanningTarget((*first, last)))


def test_of_steps_that_are_ready_the_most_liked_comes_first_and_waiting_ones_wait() -> None:
    network = fresh(config())
    example = _parallel(1, 0, 2, 3)
    batch = collate([example], world.tokenizer(), network.config)
    (own,) = in_own_order(network, batch, [example])
    assert network.training
    order = [step.tool for step in own.target.steps]
    liked, left = _likes(network, example), {1, 0, 2}
    for position in range(3):
        best = max(left, key=lambda tool: liked[position][tool])
        assert order[position] == best
        left.remove(best)
    assert order[3] == 3
    assert own.target.steps[3].parents == (0, 1, 2)
    assert own.given is example.given


def test_a_chain_leaves_no_choice() -> None:
    assert not any(has_choice(example.target) for example in world.examples())
    assert has_choice(_parallel(1, 0, 3).target)
    # The third waits for the first alone: it may stand before the second.
    steps = (StepTarget(0), StepTarget(1, (0,)), StepTarget(2, (0,)))
    assert has_choice(PlanningTarget(steps))
    assert not has_choice(PlanningTarget((*steps[:2], StepTarget(2, (0, 1)))))


def test_the_own_choice_follows_the_network() -> None:
    """The one that another network likes first is fed first by it: the order is nobody's but its own."""
    orders = set()
    for seed in range(6):
        torch.manual_seed(seed)
        network = PlannerNetwork(config())
        example = _parallel(1, 0, 2, 3)
        (own,) = in_own_order(network, collate([example], world.tokenizer(), network.config), [example])
        orders.add(tuple(step.tool for step in own.target.steps))
    assert len(orders) > 1
    assert all(order[3] == 3 for order in orders)


def test_a_share_of_the_batches_feeds_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(network: PlannerNetwork, batch: object, examples: list[PlanningExample]) -> list[PlanningExample]:
        seen.append(len(examples))
        return in_own_order(network, batch, examples)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "in_own_order", counted)
    parallel = [replace(_parallel(1, 0, 2, 3), id=str(number)) for number in range(6)]
    done = train(fresh(config(8, own_choice_share=0.5)), world.tokenizer(), parallel)
    batches = 8 * 3
    assert batches * 0.2 < len(seen) < batches * 0.8
    assert done.history.train[-1]["tool"] < done.history.train[0]["tool"]
    seen.clear()
    train(fresh(config(2)), world.tokenizer(), parallel)
    assert seen == []
