"""Speech recognition with PocketSphinx, whose wheel carries a US English model."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, write_jsonl
from tomas.tools.naming import output_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RATE = 16_000
_UTTERANCE_S = 30.0
_PAUSE_S = 0.4


def recognize_speech(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:  # noqa: ARG001
    """A transcript per audio file, and a record with the words and their times in seconds."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=_RATE, loglevel="FATAL")
    paths = inputs["audio"]
    records, outputs = [], []
    for path, name in zip(paths, output_names(paths, ".txt"), strict=True):
        samples = _read_wav(path)
        words: list[dict[str, Any]] = []
        for begin, end in _utterances(samples):
            decoder.start_utt()
            decoder.process_raw(samples[begin:end].tobytes(), full_utt=True)
            decoder.end_utt()
            logmath = decoder.get_logmath()
            for segment in decoder.seg():
                if segment.word.startswith(("<", "[", "+")):
                    continue
                words.append(
                    {
                        "word": segment.word.partition("(")[0],
                        "start": round(begin / _RATE + segment.start_frame / 100.0, 2),
                        "end": round(begin / _RATE + (segment.end_frame + 1) / 100.0, 2),
                        "confidence": round(min(1.0, float(logmath.exp(segment.prob))), 4),
                    }
                )
        text = " ".join(word["word"] for word in words)
        records.append({"file": path.name, "seconds": round(len(samples) / _RATE, 2), "text": text, "words": words})
        (output_dir / name).write_text(text + "\n", encoding="utf-8")
        outputs.append(artifact("transcripts", "text/plain", output_dir / name))
    return [*outputs, write_jsonl("segments", records, output_dir)]


def _read_wav(path: Path) -> NDArray[np.int16]:
    """Mono 16-bit samples at 16 kHz."""
    import numpy as np

    try:
        with wave.open(str(path), "rb") as audio:
            width, channels, rate = audio.getsampwidth(), audio.getnchannels(), audio.getframerate()
            data = audio.readframes(audio.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path.name} is not a PCM WAV file: {error}") from None
    if width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.float64) - 128.0) * 256.0
    elif width in (2, 4):
        samples = np.frombuffer(data, f"<i{width}").astype(np.float64) / (1 if width == 2 else 65536)
    else:
        raise ValueError(f"{path.name} has {8 * width} bits per sample; 8, 16 and 32 are read")
    samples = samples.reshape(-1, channels).mean(axis=1)
    if rate != _RATE:
        times = np.arange(int(len(samples) * _RATE / rate)) * (rate / _RATE)
        samples = np.interp(times, np.arange(len(samples)), samples)
    result: NDArray[np.int16] = np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
    return result


def _utterances(samples: NDArray[np.int16]) -> list[tuple[int, int]]:
    """Stretches of at most half a minute, cut where it is quietest: the decoder's lattice grows with length."""
    import numpy as np

    block = int(_PAUSE_S * _RATE / 4)
    longest = int(_UTTERANCE_S * _RATE)
    cuts = [0]
    while len(samples) - cuts[-1] > longest:
        low, high = cuts[-1] + longest // 2, cuts[-1] + longest
        window = samples[low:high].astype(np.float64)
        energy = np.square(window[: len(window) // block * block]).reshape(-1, block).sum(axis=1)
        smooth = np.convolve(energy, np.ones(4), mode="same")
        cuts.append(low + int(smooth.argmin()) * block + block // 2)
    cuts.append(len(samples))
    return [(a, b) for a, b in pairwise(cuts) if b > a]
