"""Texts that were encoded once are not encoded again: a registry's tools are the same in every request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

__all__ = ["EncodedTexts", "TextCache"]

_MOST = 4096
_Kept = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class EncodedTexts:
    """Texts as the tool encoder sees them.

    :ivar vectors: (U, d_tool).
    :ivar tokens: unit vectors of the tokens for matching, (U, L, d_match); d_match is 0 where nothing is matched.
    :ivar weights: of these tokens, (U, L); 0 beyond a text's end.
    """

    vectors: Tensor
    tokens: Tensor
    weights: Tensor


class TextCache:
    """Encoded texts by their token ids. Its owner empties it whenever the encoder's weights may change."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, ...], _Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def encode(self, tokens: Tensor, encode: Callable[[Tensor], EncodedTexts]) -> EncodedTexts:
        """The encoding of texts; those that are new are given to ``encode``, each alone and at its own length.

        A batch of other shape gives other last bits: what a text is encoded to must not depend on what happened to
        be new with it, or plans could not be made again bit for bit.

        :param tokens: ids, (U, L), padded with -1 to the longest.
        """
        rows = [tuple(token for token in row if token >= 0) for row in tokens.tolist()]
        # A copy, as other threads may fill or empty what is kept.
        known = {row: kept for row in rows if (kept := self._kept.get(row)) is not None}
        fresh = {row: number for number, row in enumerate(rows) if row not in known}
        if fresh:
            added = {row: _alone(encode(tokens[n : n + 1, : max(1, len(row))])) for row, n in fresh.items()}
            if len(self._kept) + len(added) > _MOST:
                self._kept.clear()
            self._kept.update(added)
            known |= added
        parts = [known[row] for row in rows]
        return EncodedTexts(
            torch.stack([part[0] for part in parts]),
            pad_sequence([part[1] for part in parts], batch_first=True),
            pad_sequence([part[2] for part in parts], batch_first=True),
        )


def _alone(made: EncodedTexts) -> _Kept:
    return made.vectors[0].clone(), made.tokens[0].clone(), made.weights[0].clone()
