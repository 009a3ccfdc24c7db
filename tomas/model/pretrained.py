"""Pretrained decoders: from a hub id, a folder, or a GGUF file. safetensors or GGUF alone, never remote code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from tomas.errors import ModelUnavailable
from tomas.model.config import BackboneConfig

__all__ = ["Pretrained", "load_chat_model"]

_REMEDY = "Give a hub id that can be reached, a folder with safetensors and tokenizer.json, or a GGUF file."


@dataclass(frozen=True)
class Pretrained:
    """Where a pretrained model lies.

    :ivar name: hub id, or folder.
    :ivar revision: commit of the hub; pin it where plans must be reproducible.
    :ivar gguf_file: name of a GGUF file in that folder or repository; its weights are dequantised.
    :ivar local_files_only: ask no hub.
    """

    name: str
    revision: str | None = None
    gguf_file: str | None = None
    local_files_only: bool = False

    @classmethod
    def named(cls, name: str, revision: str | None = None) -> Pretrained:
        """Of a hub id, a folder, or the path of a ``.gguf`` file.

        :raises ModelUnavailable: there is no such GGUF file.
        """
        path = Path(name).expanduser()
        if path.suffix == ".gguf":
            if not path.is_file():
                raise ModelUnavailable(f"There is no file {path}.", remedy="Name an existing GGUF file.")
            return cls(str(path.parent), gguf_file=path.name)
        return cls(str(path) if path.exists() else name, revision)

    @classmethod
    def of(cls, backbone: BackboneConfig) -> Pretrained:
        """Where a configured backbone lies."""
        return cls(backbone.name, backbone.revision, backbone.gguf_file, backbone.local_files_only)

    def config(self) -> Any:
        """The configuration of transformers.

        :raises ModelUnavailable: it is not there, or cannot be read.
        """
        return self._read("configuration", AutoConfig.from_pretrained)

    def model(self, dtype: torch.dtype | str) -> PreTrainedModel:
        """The causal language model, on the processor.

        :param dtype: of its weights; ``auto``: as they are stored.
        :raises ModelUnavailable: it is not there, is of another kind, or has neither safetensors nor GGUF.
        """
        stored: dict[str, Any] = {} if self.gguf_file else {"use_safetensors": True}
        options = {"dtype": dtype, "attn_implementation": "sdpa", **stored}
        found: PreTrainedModel = self._read("model", AutoModelForCausalLM.from_pretrained, **options)
        return found

    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without what a chat template needs; of a folder its tokenizer.json is enough.

        :raises ModelUnavailable: it is not there, or cannot be read.
        """
        file = Path(self.name) / "tokenizer.json"
        if file.is_file():
            found: Tokenizer = self._read("tokenizer", lambda *_, **__: Tokenizer.from_file(str(file)))
        else:
            found = self._read("tokenizer", AutoTokenizer.from_pretrained).backend_tokenizer
        return found

    def chat_tokenizer(self) -> PreTrainedTokenizerFast:
        """The tokenizer with its chat template.

        :raises ModelUnavailable: it is not there, or cannot be read.
        """
        found: PreTrainedTokenizerFast = self._read("tokenizer", AutoTokenizer.from_pretrained)
        return found

    def _read(self, what: str, read: Callable[..., Any], **options: Any) -> Any:
        if self.gguf_file:
            options["gguf_file"] = self.gguf_file
        try:
            return read(
                self.name,
                revision=self.revision,
                local_files_only=self.local_files_only,
                trust_remote_code=False,
                **options,
            )
        except Exception as error:  # noqa: BLE001  (hub, disk and parsers each raise their own)
            raise ModelUnavailable(
                f"The {what} of {self.name} cannot be loaded: {type(error).__name__}: {str(error)[:300]}.",
                remedy=_REMEDY,
            ) from None


def load_chat_model(
    name: str, *, revision: str | None = None, dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The causal language model and the tokenizer called ``name``, ready for inference, on a GPU if there is one.

    :param name: a hub id, a folder with safetensors, or the path of a ``.gguf`` file.
    :param revision: commit of the hub.
    :param dtype: of torch; ``auto``: the one the weights are stored in, but float32 without a GPU, and for GGUF.
    :raises ModelUnavailable: it cannot be loaded.
    """
    where = Pretrained.named(name, revision)
    accelerated = torch.cuda.is_available()
    stored = dtype == "auto" and accelerated and where.gguf_file is None
    tokenizer = where.chat_tokenizer()
    model: Any = where.model("auto" if stored else getattr(torch, "float32" if dtype == "auto" else dtype))
    return (model.cuda() if accelerated else model).eval(), tokenizer
