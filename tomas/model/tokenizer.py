"""Text to token ids: a byte-level BPE of our own for ``tiny``, or the tokenizer of a pretrained backbone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tomas.model.config import BackboneConfig
from tomas.model.pretrained import Pretrained

__all__ = ["Encoded", "TextTokenizer", "load_pretrained_tokenizer", "train_tokenizer"]

_PAD = "<pad>"
_END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>", _PAD)
_PIECES = r" ?\p{N}| ?\p{Han}+| ?[^\s\p{N}\p{Han}\p{P}\p{S}]+| ?[\p{P}\p{S}]|\s+(?!\S)|\s+"
"""Every digit and every mark alone; Chinese apart from Latin words."""
_LONGEST_TOKEN = 15
"""Bytes: five Chinese characters. Longer tokens would be phrases of the training data."""
_MOST_CHARACTERS = 20_000
"""Longer texts are cut off here, so that the time is bounded."""

_PRINTED = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
_BYTE_OF = {chr(value): value for value in _PRINTED} | {
    chr(256 + place): value for place, value in enumerate(value for value in range(256) if value not in _PRINTED)
}
"""The characters that byte-level BPE (of GPT-2) writes bytes as."""

_MOST_KNOWN = 50_000
"""Texts whose ids are kept: the tools of a registry are read at every request."""

Encoded = tuple[list[int], list[tuple[int, int]]]
"""Token ids, and per token the (begin, end) characters that it stands for."""


class TextTokenizer:
    """Token ids of texts, the same on every machine."""

    def __init__(self, tokenizer: Tokenizer, *, fold: bool) -> None:
        """:param fold: what is read is put in lower case, underscores count as blanks; what is written is not."""
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.fold = fold
        self._known: dict[tuple[str, int], list[int]] = {}
        found = (self._tokenizer.token_to_id(name) for name in _END_TOKENS)
        self.end_id = next((number for number in found if number is not None), 0)
        """The token that ends a written text."""

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, text: str) -> Encoded:
        """Ids and character offsets of a text that is read."""
        encoding = self._tokenizer.encode(self._prepare(text), add_special_tokens=False)
        if not self.fold:
            return list(encoding.ids), list(encoding.offsets)
        # One blank more stands before the text.
        return list(encoding.ids), [(max(0, a - 1), max(0, b - 1)) for a, b in encoding.offsets]

    def encode_many(self, texts: Sequence[str], limit: int) -> list[list[int]]:
        """Ids of texts that are read, each cut off after ``limit`` tokens."""
        # A copy, as other threads may fill or empty what is kept.
        known = {text: kept for text in texts if (kept := self._known.get((text, limit))) is not None}
        fresh = [text for text in dict.fromkeys(texts) if text not in known]
        prepared = [self._prepare(text[: limit * 16]) for text in fresh]
        rows = self._tokenizer.encode_batch(prepared, add_special_tokens=False)
        known |= {text: row.ids[:limit] for text, row in zip(fresh, rows, strict=True)}
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update({(text, limit): known[text] for text in fresh})
        return [known[text] for text in texts]

    def encode_written(self, text: str, limit: int) -> list[int]:
        """Ids of a text that the model is to write, case kept."""
        return list(self._tokenizer.encode(text[:_MOST_CHARACTERS], add_special_tokens=False).ids[:limit])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self) -> list[bytes]:
        """The bytes that each id of a byte-level tokenizer stands for; none for special and unused ids."""
        special = set(self._tokenizer.get_added_tokens_decoder())
        found = [b""] * self.vocab_size
        for text, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if number not in special:
                found[number] = bytes(_BYTE_OF[char] for char in text)
        return found

    def to_json(self) -> str:
        """The whole tokenizer as text, for the checkpoint."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str, *, fold: bool) -> TextTokenizer:
        """The inverse of :meth:`to_json`.

        :raises ValueError: the text is no tokenizer.
        """
        try:
            return cls(Tokenizer.from_str(text), fold=fold)
        except Exception as error:  # noqa: BLE001  (the library raises bare exceptions)
            raise ValueError(f"no tokenizer: {error}") from None

    def _prepare(self, text: str) -> str:
        text = text[:_MOST_CHARACTERS]
        if not self.fold:
            return text
        # Character by character, so that offsets hold for the text as it was given.
        lower = text.lower()
        if len(lower) != len(text):
            lower = "".join(low if len(low := char.lower()) == 1 else char for char in text)
        # A blank before it, so that the first word is read like any other.
        return " " + lower.replace("_", " ")


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 8192) -> TextTokenizer:
    """A byte-level BPE tokenizer of English and Chinese (any text can be encoded), trained on ``texts``.

    :param texts: what will be read (folded here) and written.
    :param vocab_size: at most so many ids; id 0 is padding.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_PAD],
        max_token_length=_LONGEST_TOKEN,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    folding = TextTokenizer(tokenizer, fold=True)
    tokenizer.train_from_iterator((folding._prepare(text) for text in texts), trainer=trainer)  # noqa: SLF001
    return TextTokenizer(tokenizer, fold=True)


def load_pretrained_tokenizer(backbone: BackboneConfig) -> TextTokenizer:
    """The tokenizer of a pretrained backbone: ``tokenizer.json`` of a folder or hub repository, or a GGUF file's.

    :raises ModelUnavailable: it is not there, or cannot be read.
    """
    return TextTokenizer(Pretrained.of(backbone).tokenizer(), fold=False)
