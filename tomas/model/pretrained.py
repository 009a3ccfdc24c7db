"""Stock language models: from a hub id, a folder, or a GGUF file. safetensors or GGUF alone, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomas.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["load_pretrained"]


def load_pretrained(
    name: str, *, revision: str | None = None, dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The causal language model and the tokenizer called ``name``, ready for inference.

    :param name: a hub id, a folder with safetensors, or the path of a ``.gguf`` file (its weights are expanded).
    :param revision: commit of the hub; pin it where plans must be reproducible.
    :param dtype: of torch, or ``auto`` for the one the weights are stored in (float32 on a processor without
        an accelerator, and for GGUF).
    :raises ConfigError: torch and transformers are missing, or ``name`` cannot be loaded.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise ConfigError(
            f"Language models need {error.name}.", remedy="pip install 'airflow-provider-tomas[model]'"
        ) from None
    path = Path(name).expanduser()
    source: str = str(path) if path.exists() else name
    options: dict[str, Any] = {"trust_remote_code": False}
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ConfigError(f"There is no file {path}.", remedy="Name an existing GGUF file.")
        source, options["gguf_file"] = str(path.parent), path.name
    elif revision is not None:
        options["revision"] = revision
    accelerated = torch.cuda.is_available()
    wanted = dtype if dtype != "auto" or (accelerated and path.suffix != ".gguf") else "float32"
    stored: dict[str, Any] = {} if path.suffix == ".gguf" else {"use_safetensors": True}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=wanted, **options, **stored)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ConfigError(
            f"The model {name} cannot be loaded ({type(error).__name__}: {str(error)[:300]}).",
            remedy="Name a hub id that this machine can reach, a folder with safetensors, or a GGUF file.",
        ) from error
    if accelerated:
        model = model.cuda()
    return model.eval(), tokenizer
