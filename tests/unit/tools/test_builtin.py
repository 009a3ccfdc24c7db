"""Every tool that runs here, on the sample files, judged by what it found."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tomas.errors import ToolError
from tomas.schema import Outcome, Resources
from tomas.tools.registry import Registry
from tomas.tools.run import ToolRun

Run = Callable[..., ToolRun]
Records = Callable[[ToolRun, str], dict[str, dict[str, Any]]]


def files(result: ToolRun, port: str) -> dict[str, Path]:
    return {Path(item.uri).name: Path(item.uri) for item in result.outputs if item.name == port}


def test_image_classification_tells_kinds_and_reads_digits(
    registry: Registry, run: Run, samples: Path, records: Records
) -> None:
    result = run(registry.get("image_classification"), {"images": sorted((samples / "images").iterdir())})
    found = {name: row["label"] for name, row in records(result, "labels").items()}
    assert found == {
        "astronaut.jpg": "photo",
        "chelsea.jpg": "photo",
        "coffee.jpg": "photo",
        "coffee_small.jpg": "photo",
        "rocket.jpg": "photo",
        "bar_chart.png": "graphic",
        "scanned_page.png": "document",
        "digit_3.png": "3",
        "digit_5.png": "5",
        "digit_8.png": "8",
    }


def test_object_detection_finds_the_astronauts_face_and_only_that(
    registry: Registry, run: Run, samples: Path, records: Records
) -> None:
    images = [samples / "images" / name for name in ("astronaut.jpg", "coffee.jpg")]
    found = records(run(registry.get("object_detection"), {"images": images}), "objects")
    assert found["coffee.jpg"]["objects"] == []
    (face,) = found["astronaut.jpg"]["objects"]
    left, top, width, height = face["box"]
    assert face["label"] == "face"
    assert left < 224 < left + width  # the middle of her face
    assert top < 110 < top + height


def test_image_preprocessing_shrinks_and_turns_upright(
    registry: Registry, run: Run, samples: Path, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    Image.open(samples / "images" / "coffee.jpg").save(turned, exif=exif)
    result = run(registry.get("image_preprocessing"), {"images": [turned]}, arguments={"max_side": 200})
    with Image.open(files(result, "images")["turned.png"]) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (133, 200))


def test_super_resolution_agrees_with_its_original(
    registry: Registry, run: Run, samples: Path, tmp_path: Path
) -> None:
    original = Image.open(samples / "images" / "coffee.jpg").resize((300, 200), Image.Resampling.BOX)
    low = tmp_path / "low.png"
    original.resize((150, 100), Image.Resampling.BOX).save(low)
    result = run(registry.get("super_resolution"), {"images": [low]})
    with Image.open(files(result, "images")["low-x2.png"]) as image:
        assert image.size == (300, 200)
        better = np.asarray(image, float)
    truth = np.asarray(original, float)
    plain = np.asarray(Image.open(low).resize((300, 200), Image.Resampling.BILINEAR), float)
    assert np.square(better - truth).mean() < 0.8 * np.square(plain - truth).mean()


def test_image_deduplication_pairs_the_scaled_copy(registry: Registry, run: Run, samples: Path) -> None:
    result = run(registry.get("image_deduplication"), {"images": sorted((samples / "images").glob("*.jpg"))})
    (path,) = files(result, "groups").values()
    groups = [json.loads(line)["files"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert groups == [["coffee.jpg", "coffee_small.jpg"], ["astronaut.jpg"], ["chelsea.jpg"], ["rocket.jpg"]]


def test_text_summarization_quotes_central_sentences(
    registry: Registry, run: Run, samples: Path, records: Records
) -> None:
    documents = [samples / "documents" / name for name in ("battery_bus.txt", "city_park_zh.txt")]
    result = run(registry.get("text_summarization"), {"documents": documents}, arguments={"sentences": 2})
    found = records(result, "summaries")
    assert (found["battery_bus.txt"]["language"], found["city_park_zh.txt"]["language"]) == ("en", "zh")
    for path in documents:
        text = "".join(path.read_text(encoding="utf-8").split())
        chosen = found[path.name]["chosen"]
        assert len(chosen) == 2
        assert all("".join(sentence.split()) in text for sentence in chosen)
    assert "bus" in found["battery_bus.txt"]["summary"]
    assert "照明" in found["city_park_zh.txt"]["summary"]
    texts = files(result, "texts")
    assert (
        texts["city_park_zh-summary.txt"].read_text(encoding="utf-8").strip()
        == found["city_park_zh.txt"]["summary"]
    )


def test_keyword_extraction_in_both_languages(
    registry: Registry, run: Run, samples: Path, records: Records
) -> None:
    documents = [samples / "documents" / name for name in ("tea_house.txt", "library_zh.txt")]
    found = records(run(registry.get("keyword_extraction"), {"documents": documents}), "keywords")
    words = {name: [item["keyword"].lower() for item in row["keywords"]] for name, row in found.items()}
    assert "tea house" in words["tea_house.txt"][:3]
    assert words["library_zh.txt"][0] == "图书馆"


def test_language_detection(registry: Registry, run: Run, samples: Path, records: Records) -> None:
    result = run(registry.get("language_detection"), {"documents": sorted((samples / "documents").iterdir())})
    for name, row in records(result, "languages").items():
        assert row["language"] == ("zh" if name.endswith("_zh.txt") else "en"), name
        assert row["probability"] > 0.9


def test_sentiment_analysis(registry: Registry, run: Run, samples: Path, records: Records) -> None:
    documents = sorted((samples / "documents").glob("review_*.txt"))
    found = records(run(registry.get("sentiment_analysis"), {"documents": documents}), "sentiments")
    assert {name: row["label"] for name, row in found.items()} == {
        "review_good.txt": "positive",
        "review_bad.txt": "negative",
    }


def test_text_clustering_separates_the_subjects(registry: Registry, run: Run, samples: Path) -> None:
    documents = [samples / "documents" / name for name in ("battery_bus.txt", "city_park_zh.txt", "library_zh.txt")]
    allocation = Resources(cpu_cores=2, cpu_mem_gb=2)
    result = run(registry.get("text_clustering"), {"documents": documents}, allocation=allocation)
    (path,) = files(result, "clusters").values()
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    units = [row for row in rows if "file" in row]
    homes = {
        name: max(set(found), key=found.count)
        for name in {row["file"] for row in units}
        if (found := [row["cluster"] for row in units if row["file"] == name])
    }
    right = sum(homes[row["file"]] == row["cluster"] for row in units)
    assert len(set(homes.values())) == 3
    assert right / len(units) > 0.8
    assert sum(row["size"] for row in rows if "size" in row) == len(units)


def test_speech_recognition_hears_most_words(registry: Registry, run: Run, samples: Path, records: Records) -> None:
    result = run(registry.get("speech_recognition"), {"audio": [samples / "audio" / "old_man.wav"]})
    text = (samples / "README.md").read_text(encoding="utf-8")
    said = text.partition('In `audio/old_man.wav`: "')[2].partition('"')[0].lower().replace(".", "").split()
    assert len(said) == 23
    row = records(result, "segments")["old_man.wav"]
    heard = row["text"].split()
    assert sum(word in heard for word in said) / len(said) > 0.85
    assert [word["word"] for word in row["words"]] == heard
    assert all(word["start"] < word["end"] <= row["seconds"] + 0.1 for word in row["words"])
    assert files(result, "transcripts")["old_man.txt"].read_text(encoding="utf-8").split() == heard


def test_video_tools_on_the_test_card(registry: Registry, run: Run, samples: Path) -> None:
    videos = {"videos": [samples / "video" / "test_card.mp4"]}
    small = run(registry.get("video_transcoding"), videos, arguments={"height": 120, "preset": "ultrafast"})
    frames = run(
        registry.get("video_frame_extraction"),
        {"videos": list(files(small, "videos").values())},
        arguments={"every_s": 2.0},
    )
    names = files(frames, "images")
    assert list(names) == ["test_card-0000.png", "test_card-0001.png", "test_card-0002.png", "test_card-0003.png"]
    with Image.open(names["test_card-0001.png"]) as image:
        assert image.size == (160, 120)
    sound = run(registry.get("audio_extraction"), videos)
    with wave.open(str(files(sound, "audio")["test_card.wav"])) as audio:
        assert (audio.getframerate(), audio.getnchannels()) == (16000, 1)
        assert audio.getnframes() / 16000 == pytest.approx(6.8, abs=0.3)


def test_data_preprocessing_cleans_and_profiles(
    registry: Registry, run: Run, samples: Path, records: Records
) -> None:
    import pandas as pd

    tables = {"tables": [samples / "table" / "orders.csv"]}
    result = run(registry.get("data_preprocessing"), tables, arguments={"scale": "minmax"})
    row = records(result, "profile")["orders.csv"]
    assert (row["rows"], row["rows_left"], row["duplicates"], row["empty_rows"]) == (247, 240, 6, 1)
    assert row["missing"] == {"quantity": 5, "weight_kg": 9}
    frame = pd.read_csv(files(result, "tables")["orders.csv"])
    assert len(frame) == 240
    assert not frame.isna().any().any()
    assert (frame["unit_price"].min(), frame["unit_price"].max()) == (0.0, 1.0)


def test_report_generation_joins_many_results_and_escapes_them(
    registry: Registry, run: Run, samples: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "labels.jsonl", tmp_path / "summaries.jsonl"
    first.write_text('{"file": "<script>alert(1)</script>.png", "label": "{{ 7*7 }}"}\n', encoding="utf-8")
    second.write_text(
        '{"file": "公园.txt", "summary": "夜间照明"}\n{"file": "b", "n": [1, {"k": 2}]}\n', encoding="utf-8"
    )
    inputs = {"records": [first, second], "images": [samples / "images" / "coffee.jpg"]}
    result = run(registry.get("report_generation"), inputs, arguments={"title": "A & B"})
    page = files(result, "report")["report.html"].read_text(encoding="utf-8")
    assert "<h1>A &amp; B</h1>" in page
    assert "<h2>labels (1)</h2>" in page
    assert "<h2>summaries (2)</h2>" in page
    assert "夜间照明" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "{{ 7*7 }}" in page
    assert "data:image/jpeg;base64," in page


@pytest.mark.parametrize(
    ("tool", "port", "name"),
    [
        ("image_preprocessing", "images", "broken.png"),
        ("object_detection", "images", "broken.png"),
        ("text_summarization", "documents", "broken.txt"),
        ("speech_recognition", "audio", "broken.wav"),
        ("data_preprocessing", "tables", "broken.csv"),
        ("video_transcoding", "videos", "broken.mp4"),
        ("report_generation", "records", "broken.jsonl"),
    ],
)
def test_a_broken_file_is_named(
    registry: Registry, run: Run, tmp_path: Path, tool: str, port: str, name: str
) -> None:
    broken = tmp_path / name
    broken.write_bytes(b"\xff\xfe\x00not what the name says\x9f")
    with pytest.raises(ToolError, match="broken") as caught:
        run(registry.get(tool), {port: [broken]})
    assert caught.value.usage.outcome is Outcome.FAILED
