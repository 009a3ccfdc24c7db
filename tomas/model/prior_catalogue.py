"""The texts of the tools that a memory chooses among, and how alike a request is to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tomas.model.example import FloatArray
from tomas.model.prior_terms import TermTable

__all__ = ["Catalogue"]


class Catalogue:
    """Tools by name and text: alike by words of the text, by words of the name, and, with token states, by meaning.

    By meaning: for each token of the tool the most alike token of the request, and of these the mean (late
    interaction; Khattab and Zaharia, "ColBERT", 2020). Nothing here is learned from plans, so that it speaks of
    tools that no known plan holds.
    """

    def __init__(
        self,
        names: Sequence[str],
        texts: TermTable,
        words: TermTable,
        *,
        tokens: FloatArray | None = None,
        starts: NDArray[np.int64] | None = None,
        centre: FloatArray | None = None,
    ) -> None:
        """:param tokens: centred states of all tools' tokens, of length 1, (tokens, width).

        :param starts: of each tool's tokens, (tools,); every tool has at least one.
        :param centre: what is taken from states of tokens, (width,).
        """
        self.names = tuple(names)
        self._texts, self._words = texts, words
        self._tokens, self._starts, self._centre = tokens, starts, centre

    @classmethod
    def of(
        cls, tools: Mapping[str, str], tokens: Sequence[FloatArray] | None = None, centre: FloatArray | None = None
    ) -> Catalogue:
        """:param tools: texts by name.

        :param tokens: states of the tokens of each text, (tokens, width); None: none are compared.
        :param centre: their mean over many texts, (width,).
        """
        texts = TermTable(list(tools.values()))
        words = TermTable([name.replace("_", " ") for name in tools])
        if tokens is None or centre is None:
            return cls(list(tools), texts, words)
        starts = np.cumsum([0, *(len(states) for states in tokens[:-1])])
        return cls(
            list(tools), texts, words, tokens=_unit(np.concatenate(tokens) - centre), starts=starts, centre=centre
        )

    def likeness(self, task: str, tokens: FloatArray | None = None) -> FloatArray:
        """Of a request with every tool, (tools, kinds).

        :param tokens: states of the request's tokens, (tokens, width); needed where the catalogue has some.
        """
        found = [self._texts.likeness(task), self._words.likeness(task)]
        if (
            self._tokens is not None
            and self._starts is not None
            and self._centre is not None
            and tokens is not None
        ):
            best = (self._tokens @ _unit(tokens.astype(np.float32) - self._centre).T).max(axis=1)
            sizes = np.diff(np.append(self._starts, len(self._tokens)))
            found.append((np.add.reduceat(best, self._starts) / sizes).astype(np.float32))
        return np.stack(found, axis=-1).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """All but the names, as arrays for a checkpoint."""
        found = {f"texts.{name}": value for name, value in self._texts.arrays().items()}
        found |= {f"words.{name}": value for name, value in self._words.arrays().items()}
        if self._tokens is not None and self._starts is not None and self._centre is not None:
            found |= {"tokens": self._tokens, "starts": self._starts, "centre": self._centre}
        return found

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Mapping[str, NDArray[np.generic]]) -> Catalogue:
        """The inverse of :meth:`arrays`.

        :raises ValueError, KeyError: the arrays are not those of so many tools.
        """
        texts, words = (
            TermTable.from_arrays(
                {name.removeprefix(part): value for name, value in arrays.items() if name.startswith(part)},
                len(names),
            )
            for part in ("texts.", "words.")
        )
        if "tokens" not in arrays:
            return cls(names, texts, words)
        tokens, starts = np.asarray(arrays["tokens"], np.float32), np.asarray(arrays["starts"], np.int64)
        if len(starts) != len(names) or (np.diff(np.append(starts, len(tokens))) < 1).any():
            raise ValueError("the tokens of a catalogue are not those of its tools")
        centre = np.asarray(arrays["centre"], np.float32)
        return cls(names, texts, words, tokens=tokens, starts=starts, centre=centre)


def _unit(states: FloatArray) -> FloatArray:
    unit: FloatArray = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-9)
    return unit.astype(np.float32)
