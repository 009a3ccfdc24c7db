"""Greedy decoding under a grammar, with jump-forward: forced tokens cost no pass of their own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import llguidance
import llguidance.torch
import torch

from tomas.errors import PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Decoded", "decode_under_grammar"]


@dataclass
class Decoded:
    """What was generated, and at what price.

    :ivar passes: forward passes of the model, the prompt's included.
    :ivar chosen: (first byte, byte after the last, log-probability) of each token that was not forced, in the
        bytes of ``text``; the probability is that among the tokens the grammar allowed.
    """

    text: str = ""
    tokens: int = 0
    passes: int = 0
    chosen: list[tuple[int, int, float]] = field(default_factory=list)


@torch.inference_mode()
def decode_under_grammar(
    model: PreTrainedModel,
    tokenizer: llguidance.LLTokenizer,
    grammar: str,
    prompt: list[int],
    *,
    max_new_tokens: int,
    limit_s: float,
    narrowed: Callable[[str], str | None] | None = None,
    jump_forward: bool = True,
) -> Decoded:
    """The most probable continuation, token by token, of those that the grammar (Lark) allows.

    :param narrowed: asked with the text so far whenever a step of the answer ended: a grammar that takes the old
        one's place, or None. It must allow the text so far.
    :param jump_forward: feed tokens that the grammar leaves no choice about together with the next one.
    :raises PlanError: the grammar is refused, or the answer did not end within the limits.
    """
    matcher = _matcher(tokenizer, grammar)
    device = next(model.parameters()).device
    bitmask = llguidance.torch.allocate_token_bitmask(1, tokenizer.vocab_size)
    result = Decoded()
    output: list[int] = []
    size = 0
    pending = list(prompt)
    cache: Any = None
    until = time.monotonic() + limit_s
    while not matcher.is_stopped():
        forced = matcher.compute_ff_tokens() if jump_forward else []
        if forced:
            matcher.consume_tokens(forced)
            pending += forced
            added = forced
        else:
            if len(output) >= max_new_tokens or time.monotonic() > until:
                raise PlanError(
                    f"The model's answer did not end within {max_new_tokens} tokens and {limit_s:g} s.",
                    remedy=_REMEDY,
                )
            ids = torch.tensor([pending], device=device)
            answer = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = answer.past_key_values
            result.passes += 1
            logits = answer.logits[:, -1, : tokenizer.vocab_size].float().cpu()
            llguidance.torch.fill_next_token_bitmask(matcher, bitmask, 0)
            llguidance.torch.apply_token_bitmask_inplace(logits, bitmask)
            token = int(logits.argmax())
            share = float(torch.log_softmax(logits, dim=-1)[0, token])
            matcher.consume_token(token)
            pending = [token]
            added = [] if token in tokenizer.eos_tokens else [token]
            piece = tokenizer.decode_bytes(added)
            result.chosen.append((size, size + len(piece), share if math.isfinite(share) else 0.0))
        if matcher.is_error():
            raise PlanError(f"The decoder left its grammar: {matcher.get_error()}.", remedy=_REMEDY)
        output += added
        piece = tokenizer.decode_bytes(added)
        size += len(piece)
        if narrowed is not None and b"}" in piece and not matcher.is_stopped():
            following = narrowed(tokenizer.decode_str(output))
            if following is not None:
                matcher = _matcher(tokenizer, following)
                matcher.consume_tokens(output)
    result.text = tokenizer.decode_str(output)
    result.tokens = len(output)
    return result


def _matcher(tokenizer: llguidance.LLTokenizer, grammar: str) -> llguidance.LLMatcher:
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(grammar), log_level=0)
    if matcher.is_error():
        raise PlanError(f"The grammar of the answer was refused: {matcher.get_error()}.", remedy=_REMEDY)
    return matcher


_REMEDY = "Raise TOMAS__INSTRUCT__MAX_NEW_TOKENS or TOMAS__INSTRUCT__LIMIT_S, or use another model."
