"""Image classification without a downloaded model: kind of picture, and handwritten digits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomas.tools.builtin.files import Inputs, Outputs, read_with_pillow, write_jsonl

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.float64]

TRAINING_DIGITS = 1500
"""The classifier learns from the first 1500 of scikit-learn's 1797 digits; the rest is for tests and samples,
and about 94 % of it is named right."""

_SIDE = 256


def classify_images(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:  # noqa: ARG001
    """One record per image: its kind, and for a digit which one."""
    records: list[dict[str, Any]] = []
    pending: list[tuple[int, Image]] = []
    for path in inputs["images"]:
        kind, confidence, digit = _kind(path)
        records.append({"file": path.name, "kind": kind, "label": kind, "confidence": round(confidence, 3)})
        if digit is not None:
            pending.append((len(records) - 1, digit))
    if pending:
        for (index, _), (label, confidence) in zip(pending, _name_digits([d for _, d in pending]), strict=True):
            records[index]["label"] = label
            records[index]["confidence"] = round(confidence, 3)
    return [write_jsonl("labels", records, output_dir)]


def _kind(path: Path) -> tuple[str, float, Image | None]:
    """Kind, confidence (share of the votes), and for a digit its 8 by 8 ink raster."""
    import numpy as np
    from PIL import Image as Pillow
    from scipy import ndimage

    image = read_with_pillow(path)
    image.thumbnail((_SIDE, _SIDE), Pillow.Resampling.BOX)
    rgb = np.asarray(image, dtype=np.float64) / 255.0
    gray = rgb.mean(axis=2)
    saturation = (rgb.max(axis=2) - rgb.min(axis=2)).mean()
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    background = float(np.median(border))
    ink = np.abs(gray - background)
    blank = float((ink < 0.12).mean())
    strong = ink > 0.5 * max(float(ink.max()), 0.2)
    labelled, count = ndimage.label(strong, structure=np.ones((3, 3)))
    largest = float(np.bincount(labelled.ravel())[1:].max() / max(strong.sum(), 1)) if count else 0.0
    levels = np.unique((rgb * 7.99).astype(int).reshape(-1, 3), axis=0, return_counts=True)[1]
    top_colours = float(np.sort(levels)[-6:].sum() / levels.sum())
    height, width = gray.shape
    square = 0.6 < width / height < 1.7

    if square and saturation < 0.05 and largest > 0.55 and count <= 6 and 0.25 < blank < 0.95:
        return "digit", largest, _raster(ink, strong)
    if saturation < 0.15 and count >= 25 and blank > 0.5:
        return "document", min(1.0, 0.5 + count / 400.0), None
    if top_colours > 0.85:
        return "graphic", top_colours, None
    return "photo", 1.0 - top_colours / 2.0, None


def _raster(ink: Image, strong: NDArray[np.bool_]) -> Image:
    """The ink, cropped, centred in a square and averaged to 8 by 8 cells of 0 to 16."""
    import numpy as np
    from PIL import Image as Pillow

    rows, columns = np.where(strong.any(axis=1))[0], np.where(strong.any(axis=0))[0]
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(crop.shape)
    canvas = np.zeros((side, side))
    top, left = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    canvas[top : top + crop.shape[0], left : left + crop.shape[1]] = crop / max(float(crop.max()), 1e-9)
    small = Pillow.fromarray((canvas * 255).astype(np.uint8)).resize((8, 8), Pillow.Resampling.BOX)
    result: Image = np.asarray(small, dtype=np.float64) * 16.0 / 255.0
    return result


def _name_digits(rasters: list[Image]) -> list[tuple[str, float]]:
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    images, targets = load_digits(return_X_y=True)
    images, targets = images[:TRAINING_DIGITS], targets[:TRAINING_DIGITS]
    grids = [_raster(image.reshape(8, 8), image.reshape(8, 8) > image.max() / 2).ravel() for image in images]
    model = KNeighborsClassifier(n_neighbors=5, weights="distance").fit(np.array(grids), targets)
    shares = model.predict_proba(np.array([raster.ravel() for raster in rasters]))
    return [(str(model.classes_[row.argmax()]), float(row.max())) for row in shares]
