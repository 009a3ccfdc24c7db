"""Still frames from videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact
from tomas.tools.naming import output_names


def extract_frames(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """A PNG every ``every_s`` seconds, at most ``max_frames`` per video."""
    import cv2

    paths = inputs["videos"]
    outputs: Outputs = []
    for path, stem in zip(paths, output_names(paths, ""), strict=True):
        video = cv2.VideoCapture(str(path))
        try:
            rate = video.get(cv2.CAP_PROP_FPS) or 25.0
            index, taken = 0, 0
            while taken < int(arguments["max_frames"]) and video.grab():
                if index >= round(taken * float(arguments["every_s"]) * rate):
                    done, frame = video.retrieve()
                    if not done:
                        break
                    target = output_dir / f"{stem}-{taken:04d}.png"
                    target.write_bytes(cv2.imencode(".png", frame)[1].tobytes())
                    outputs.append(artifact("images", "image/png", target))
                    taken += 1
                index += 1
        finally:
            video.release()
        if taken == 0:
            raise ValueError(f"{path.name} holds no readable video frame")
    return outputs
