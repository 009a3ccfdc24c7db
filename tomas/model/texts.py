"""Tables of texts: every text of a batch is encoded once, however often it stands there."""

from __future__ import annotations

import torch
from torch import Tensor

from tomas.model.tokenizer import TextTokenizer

__all__ = ["TextTable"]


class TextTable:
    """Collects texts and gives each a row; row 0 is the empty text."""

    def __init__(self, limit: int) -> None:
        """:param limit: tokens of one text."""
        self._limit = limit
        self._rows: dict[str, int] = {"": 0}

    def row(self, text: str) -> int:
        """The row of a text."""
        return self._rows.setdefault(text, len(self._rows))

    def tokens(self, tokenizer: TextTokenizer) -> Tensor:
        """Ids of all texts, shape (rows, longest), padded with -1."""
        ids = tokenizer.encode_many(list(self._rows), self._limit)
        longest = max(1, max(len(row) for row in ids))
        return torch.tensor([row + [-1] * (longest - len(row)) for row in ids], dtype=torch.long)

    @property
    def texts(self) -> list[str]:
        """The texts by row."""
        return list(self._rows)
