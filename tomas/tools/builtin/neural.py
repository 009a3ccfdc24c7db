"""Captions, answers and translations by transformers models that the user keeps in a local folder.

Only safetensors weights are loaded, nothing is fetched, and no code from the folder runs. The libraries
are looked up by name here, in the child process of a tool run; the rest of ``tomas.tools`` knows nothing
of them.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, cores, read_text, read_with_pillow, write_jsonl
from tomas.tools.builtin.language import is_chinese, sentences
from tomas.tools.naming import output_names

_LOCAL = {"local_files_only": True, "trust_remote_code": False}
_LANGUAGE_CODES = {
    "en": "eng_Latn",
    "zh": "zho_Hans",
    "de": "deu_Latn",
    "fr": "fra_Latn",
    "es": "spa_Latn",
    "ja": "jpn_Jpan",
}
"""What models of the NLLB family call the languages."""

_MAX_NEW_TOKENS = 512


def caption_images(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """A caption per image."""
    processor, model, torch = _load("TOMAS_CAPTIONING_MODEL", "AutoModelForImageTextToText", "AutoProcessor")
    records = []
    for path in inputs["images"]:
        values = processor(images=read_with_pillow(path), return_tensors="pt").to(model.device)
        with torch.inference_mode():
            tokens = model.generate(**values, max_new_tokens=2 * int(arguments["max_words"]))
        words = processor.batch_decode(tokens, skip_special_tokens=True)[0].split()
        records.append({"file": path.name, "caption": " ".join(words[: int(arguments["max_words"])])})
    return [write_jsonl("captions", records, output_dir)]


def answer_questions(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """The answer to one question for each image; ``score`` is null where the model writes free text."""
    processor, model, torch = _load("TOMAS_VQA_MODEL", "AutoModelForVisualQuestionAnswering", "AutoProcessor")
    question = str(arguments["question"])
    records = []
    for path in inputs["images"]:
        values = processor(images=read_with_pillow(path), text=question, return_tensors="pt").to(model.device)
        score: float | None = None
        with torch.inference_mode():
            if model.can_generate():
                tokens = model.generate(**values, max_new_tokens=40)
                answer = processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()
            else:
                best = model(**values).logits.sigmoid().max(dim=-1)
                answer, score = model.config.id2label[int(best.indices)], round(float(best.values), 4)
        records.append({"file": path.name, "question": question, "answer": answer, "score": score})
    return [write_jsonl("answers", records, output_dir)]


def translate(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """A translated text per document, sentence by sentence, paragraphs kept."""
    tokenizer, model, torch = _load("TOMAS_TRANSLATION_MODEL", "AutoModelForSeq2SeqLM", "AutoTokenizer")
    target = str(arguments["target_language"])
    paths = inputs["documents"]
    outputs = []
    for path, name in zip(paths, output_names(paths, f"-{target}.txt"), strict=True):
        text = read_text(path)
        source = str(arguments["source_language"])
        if source == "auto":
            source = "zh" if is_chinese(text) else "en"
        if source == target:
            raise ValueError(f"{path.name} is already in {target}; choose another target_language")
        options = _language_options(tokenizer, source, target)
        paragraphs = []
        for paragraph in text.split("\n\n"):
            done = []
            for sentence in sentences(paragraph):
                values = tokenizer(sentence, return_tensors="pt", truncation=True).to(model.device)
                with torch.inference_mode():
                    tokens = model.generate(**values, max_new_tokens=_MAX_NEW_TOKENS, **options)
                done.append(tokenizer.batch_decode(tokens, skip_special_tokens=True)[0].strip())
            paragraphs.append(("" if target in ("zh", "ja") else " ").join(done))
        (output_dir / name).write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
        outputs.append(artifact("translations", "text/plain", output_dir / name))
    return outputs


def _language_options(tokenizer: Any, source: str, target: str) -> dict[str, Any]:
    """What a many-language model must be told; a model for one pair of languages needs nothing."""
    for source_code, target_code in ((source, target), (_LANGUAGE_CODES[source], _LANGUAGE_CODES[target])):
        for token in (target_code, f"__{target_code}__"):
            number = tokenizer.convert_tokens_to_ids(token)
            if hasattr(tokenizer, "src_lang") and number is not None and number != tokenizer.unk_token_id:
                tokenizer.src_lang = source_code
                return {"forced_bos_token_id": number}
    return {}


def _load(variable: str, model_class: str, processor_class: str) -> tuple[Any, Any, Any]:
    """Processor (or tokenizer), model in evaluation mode, and torch itself."""
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    torch.set_num_threads(cores())
    folder = os.environ[variable]
    processor = getattr(transformers, processor_class).from_pretrained(folder, **_LOCAL)
    model = getattr(transformers, model_class).from_pretrained(folder, use_safetensors=True, **_LOCAL).eval()
    return processor, model.to("cuda" if torch.cuda.is_available() else "cpu"), torch
