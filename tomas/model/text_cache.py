"""Texts that were encoded once are not encoded again: a registry's tools are the same in every request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

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
        """The encoding of texts; only those that are new are given to ``encode``.

        :param tokens: ids, (U, L), padded with -1.
        """
        rows = [tuple(token for token in row if token >= 0) for row in tokens.tolist()]
        # A copy, as other threads may fill or empty what is kept.
        known = {row: kept for row in rows if (kept := self._kept.get(row)) is not None}
        fresh = [number for number, row in enumerate(rows) if row not in known]
        if fresh:
            made = encode(tokens[fresh])
            known |= self._keep([rows[number] for number in fresh], made)
        parts = [known[row] for row in rows]
        width = tokens.shape[1]
        first = parts[0]
        padded = first[1].new_zeros(len(rows), width, first[1].shape[-1])
        weights = first[2].new_zeros(len(rows), width)
        for number, (_, vectors, row_weights) in enumerate(parts):
            padded[number, : len(vectors)] = vectors
            weights[number, : len(row_weights)] = row_weights
        return EncodedTexts(torch.stack([part[0] for part in parts]), padded, weights)

    def _keep(self, rows: list[tuple[int, ...]], made: EncodedTexts) -> dict[tuple[int, ...], _Kept]:
        added = {
            row: (
                made.vectors[place].clone(),
                made.tokens[place, : len(row)].clone(),
                made.weights[place, : len(row)].clone(),
            )
            for place, row in enumerate(rows)
        }
        if len(self._kept) + len(added) > _MOST:
            self._kept.clear()
        self._kept.update(added)
        return added
