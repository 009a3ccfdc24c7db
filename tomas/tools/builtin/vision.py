"""Image tools on Pillow and OpenCV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, read_with_pillow, write_jsonl
from tomas.tools.naming import output_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CASCADES = {
    "face": "haarcascade_frontalface_default.xml",
    "eye": "haarcascade_eye.xml",
    "smile": "haarcascade_smile.xml",
    "cat": "haarcascade_frontalcatface_extended.xml",
    "body": "haarcascade_fullbody.xml",
    "upper_body": "haarcascade_upperbody.xml",
}
_PNG = "image/png"


def preprocess_images(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """Upright RGB PNGs no larger than ``max_side``, contrast stretched if asked."""
    from PIL import Image, ImageOps

    paths = inputs["images"]
    side = int(arguments["max_side"])
    outputs = []
    for path, name in zip(paths, output_names(paths, ".png"), strict=True):
        image = read_with_pillow(path)
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        if arguments["normalize"]:
            image = ImageOps.autocontrast(image, cutoff=0.5, preserve_tone=True)
        image.save(output_dir / name, "PNG")
        outputs.append(artifact("images", _PNG, output_dir / name))
    return outputs


def detect_objects(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """Boxes of what the chosen cascades find, strongest first."""
    import cv2

    classifiers = {}
    for label in arguments["labels"]:
        path = Path(cv2.__file__).parent / "data" / _CASCADES[label]
        classifiers[label] = cv2.CascadeClassifier(str(path))
        if classifiers[label].empty():
            raise RuntimeError(f"OpenCV's cascade {path.name} is missing; OpenCV 5 ships none, install version 4")
    records = []
    for path in inputs["images"]:
        gray = cv2.equalizeHist(cv2.cvtColor(_read_bgr(path), cv2.COLOR_BGR2GRAY))
        height, width = gray.shape
        objects: list[dict[str, Any]] = []
        for label, classifier in classifiers.items():
            boxes, _, weights = classifier.detectMultiScale3(
                gray,
                scaleFactor=1.1,
                minNeighbors=int(arguments["min_neighbors"]),
                minSize=(max(20, width // 25), max(20, height // 25)),
                outputRejectLevels=True,
            )
            objects.extend(
                {"label": label, "box": [int(v) for v in box], "score": round(float(weight), 3)}
                for box, weight in zip(boxes, weights, strict=True)
            )
        objects.sort(key=lambda item: -item["score"])
        records.append({"file": path.name, "width": width, "height": height, "objects": objects})
    return [write_jsonl("objects", records, output_dir)]


def super_resolve(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """Enlarge by iterative back-projection.

    The estimate is shrunk again, compared with the original, and the difference is enlarged and added.
    After M. Irani and S. Peleg, "Improving resolution by image registration", CVGIP 53(3), 1991.
    """
    import cv2
    import numpy as np

    scale = int(arguments["scale"])
    paths = inputs["images"]
    outputs = []
    for path, name in zip(paths, output_names(paths, f"-x{scale}.png"), strict=True):
        low = _read_bgr(path).astype(np.float32)
        height, width = low.shape[:2]
        size = (width * scale, height * scale)
        high = cv2.resize(low, size, interpolation=cv2.INTER_CUBIC)
        for _ in range(int(arguments["iterations"])):
            error = low - cv2.resize(high, (width, height), interpolation=cv2.INTER_AREA)
            high += cv2.resize(error, size, interpolation=cv2.INTER_CUBIC)
            # Smoothing what back-projection adds keeps edges from ringing.
            high = 0.9 * high + 0.1 * cv2.GaussianBlur(high, (0, 0), 0.6 * scale)
        _write_png(output_dir / name, np.clip(np.rint(high), 0, 255).astype(np.uint8))
        outputs.append(artifact("images", _PNG, output_dir / name))
    return outputs


def group_duplicates(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """Groups of images whose difference hashes lie within ``max_distance``, chains included."""
    paths = list(inputs["images"])
    hashes = [_difference_hash(path) for path in paths]
    group = list(range(len(paths)))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    for a in range(len(paths)):
        for b in range(a):
            if (hashes[a] ^ hashes[b]).bit_count() <= int(arguments["max_distance"]):
                group[root(a)] = root(b)
    members: dict[int, list[int]] = {}
    for index in range(len(paths)):
        members.setdefault(root(index), []).append(index)
    records = [
        {
            "group": number,
            "files": [paths[i].name for i in found],
            "duplicates": len(found) - 1,
            "distance": max((hashes[found[0]] ^ hashes[i]).bit_count() for i in found),
        }
        for number, found in enumerate(sorted(members.values(), key=lambda m: (-len(m), m)), start=1)
    ]
    return [write_jsonl("groups", records, output_dir)]


def _difference_hash(path: Path) -> int:
    from PIL import Image

    image = read_with_pillow(path).convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    values = image.tobytes()
    bits = 0
    for row in range(8):
        for column in range(8):
            bits = bits << 1 | (values[row * 9 + column] > values[row * 9 + column + 1])
    return bits


def _read_bgr(path: Path) -> NDArray[np.uint8]:
    import cv2
    import numpy as np

    # Decoded from memory: OpenCV's own file reading stumbles over non-ASCII names on some platforms.
    image = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise ValueError(f"{path.name} is not a readable image")
    result: NDArray[np.uint8] = image
    return result


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    done, data = cv2.imencode(".png", image)
    if not done:
        raise ValueError(f"{path.name} could not be encoded as PNG")
    path.write_bytes(data.tobytes())
