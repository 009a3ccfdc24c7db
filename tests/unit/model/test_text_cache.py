"""Texts are encoded once in evaluation, alike with and without that memory, and anew once weights may change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.model import world
from tomas.model.batch import collate
from tomas.model.decode import Decoder, decode
from tomas.model.network import PlannerNetwork
from tomas.model.tokenizer import TextTokenizer

ONE = np.ones(1, np.float32)


def test_what_is_remembered_is_what_would_be_encoded(network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    batch = collate(world.examples()[:2], tokenizer, network.config)
    other = collate(world.examples()[4:6], tokenizer, network.config)
    with torch.inference_mode():
        first = network(batch).tools
        network(other)
        again = network(batch).tools
    with torch.no_grad():
        network.train()
        fresh = network(batch).tools
        network.eval()
    assert len(network.left._texts) == 0
    assert float((first - again).abs().max()) < 1e-5
    assert float((first - fresh).abs().max()) < 1e-5


def test_the_next_plan_encodes_no_text_anew(
    network: PlannerNetwork, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning twice must not put the network into evaluation mode twice, which forgets."""
    asked = world.examples()[4].given
    first = decode(network, tokenizer, asked)
    encoded: list[int] = []
    before = network.left.text.forward
    monkeypatch.setattr(network.left.text, "forward", lambda *given: (encoded.append(1), before(*given))[1])
    assert decode(network, tokenizer, asked) == first
    assert not encoded
    network.load_state_dict(network.state_dict())
    assert decode(network, tokenizer, asked) == first
    assert encoded


def test_changed_weights_are_seen(network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    batch = collate(world.examples()[:1], tokenizer, network.config)
    with torch.inference_mode():
        before = network(batch).tools
        assert len(network.left._texts) > 0
    network.train()
    with torch.no_grad():
        network.left.text.value.weight.mul_(-1.0)
    network.eval()
    with torch.inference_mode():
        assert float((network(batch).tools - before).abs().max()) > 1e-3


def test_what_was_encoded_before_does_not_change_a_bit(network: PlannerNetwork, tokenizer: TextTokenizer) -> None:
    """Not even in the last place: a fresh process and one that has planned for days give the same plan."""
    asked = world.examples()[1].given
    with torch.inference_mode():
        fresh = Decoder(network, tokenizer, asked)
        network.left._texts.clear()
        for tool in world.TOOLS:
            Decoder(network, tokenizer, replace(world.examples()[4].given, candidates=(tool,), retrieval=ONE))
        after = Decoder(network, tokenizer, asked)
    assert torch.equal(fresh.tools, after.tools)
    assert torch.equal(fresh.gate, after.gate)
    assert torch.equal(fresh._panels.tools, after._panels.tools)
