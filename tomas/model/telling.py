"""Words about a plan that are held to what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from tomas.model.decode import Decoder

__all__ = ["tell"]


def tell(decoder: Decoder, next_clauses: Callable[[Sequence[int]], Mapping[str, int]]) -> str:
    """Words held to what is true: clause by clause the one of those offered that the LM head begins likeliest.

    :param decoder: of a plan that has been chosen; it cannot go on afterwards.
    :param next_clauses: of the steps told of so far, in order: what may be said next, and of which step. No
        clause may be the beginning of another; where there is none the text ends.
    """
    network = decoder.network
    state = decoder.feed(network.end_embeds(1))
    said: list[str] = []
    told: list[int] = []
    while clauses := next_clauses(told):
        rows = {clause: tuple(decoder.tokenizer.encode(clause)[0]) for clause in clauses}
        place = 0
        while rows:
            tokens = sorted({row[place] for row in rows.values()})
            token = tokens[0]
            if len(tokens) > 1:
                token = tokens[int(network.backbone.logits(state)[0, -1][tokens].argmax())]
            rows = {clause: row for clause, row in rows.items() if row[place] == token}
            state = decoder.feed(network.backbone.embedding(torch.tensor([[token]], device=network.device)).float())
            place += 1
            if whole := [clause for clause, row in rows.items() if len(row) == place]:
                said.append(whole[0])
                told.append(clauses[whole[0]])
                break
    return "".join(said)
