"""The retrieval planner: founding tasks, wiring, arguments, and one clear error for each bad input."""

from __future__ import annotations

from typing import Any

import pytest

from tomas.errors import NoToolMatches, TaskError, ToolUnavailable, UnboundInput, UnknownToolError
from tomas.planner.base import Draft
from tomas.planner.retrieval import RetrievalPlanner
from tomas.schema import MAX_TASK_CHARS, PlanRequest, RequestInput, StepBinding, Tool
from tomas.tools.registry import Registry

IMAGES = {"images": RequestInput(type="image/*", uris=["a.png"])}
TEXTS = {"documents": RequestInput(type="text/plain", uris=["a.txt"])}
VIDEOS = {"videos": RequestInput(type="video/mp4", uris=["a.mp4"])}


@pytest.fixture
def draft(planner: RetrievalPlanner, registry: Registry) -> Any:
    def run(task: str, **fields: Any) -> Draft:
        fields.setdefault("allow_unavailable", True)
        return planner.draft(PlanRequest(task=task, **fields), registry)

    return run


def tools(made: Draft) -> list[str]:
    return [step.tool for step in made.steps]


def sources(made: Draft, tool: str) -> dict[str, list[str]]:
    """Per port of a step: ``tool.output`` of what it reads, or the name of a request input."""
    names = {step.id: step.tool for step in made.steps}
    step = next(item for item in made.steps if item.tool == tool)
    return {
        port: [
            f"{names[item.step]}.{item.output}" if isinstance(item, StepBinding) else item.name for item in bindings
        ]
        for port, bindings in step.inputs.items()
    }


# --- the two founding tasks ------------------------------------------------------------------------------


def test_classify_a_batch_of_images_in_chinese(draft: Any) -> None:
    made = draft("对一批图片进行分类")
    assert tools(made) == ["image_classification"]
    assert made.language == "zh"
    assert made.request.inputs["images"].uris == []
    assert any("images (image/*) is not given yet" in warning for warning in made.warnings)


def test_translate_an_english_document_in_chinese(draft: Any) -> None:
    made = draft("翻译一篇英文文档")
    assert tools(made) == ["machine_translation"]
    assert made.steps[0].arguments == {"source_language": "en", "target_language": "zh"}
    assert any("cannot run here" in warning for warning in made.warnings)


# --- graph -----------------------------------------------------------------------------------------------


def test_tools_named_side_by_side_fan_out_and_a_report_joins_all_of_them(draft: Any) -> None:
    made = draft(
        "Classify the images, detect faces, find duplicates, and combine the results in a report", inputs=IMAGES
    )
    assert tools(made)[-1] == "report_generation"
    assert len(made.steps) == 4
    for tool in tools(made)[:-1]:
        assert sources(made, tool) == {"images": ["images"]}
    assert sources(made, "report_generation") == {
        "records": ["image_classification.labels", "object_detection.objects", "image_deduplication.groups"],
        "images": ["images"],
    }
    assert made.steps[-1].depends_on == ["s1", "s2", "s3"]
    assert {name: binding.output for name, binding in made.outputs.items()} == {"report": "report"}


def test_then_chains_where_types_allow(draft: Any) -> None:
    made = draft("Resize the images, then detect faces", inputs=IMAGES)
    assert sources(made, "object_detection") == {"images": ["image_preprocessing.images"]}
    assert draft("Resize the images and detect faces", inputs=IMAGES).steps[1].depends_on == []


def test_before_and_after_are_put_in_order(draft: Any) -> None:
    for task in ("After resizing the images, detect faces", "Detect faces after resizing the images",
                 "Before detecting faces, resize the images", "先把图片缩放，再检测人脸"):  # fmt: skip
        assert sources(draft(task, inputs=IMAGES), "object_detection") == {"images": ["image_preprocessing.images"]}


def test_types_chain_without_a_word_of_order(draft: Any) -> None:
    made = draft(
        "Summarise what is said: transcribe the audio", inputs={"audio": RequestInput(type="audio/wav", uris=["a"])}
    )
    assert tools(made) == ["speech_recognition", "text_summarization"]
    assert sources(made, "text_summarization") == {"documents": ["speech_recognition.transcripts"]}


def test_a_missing_producer_is_pulled_in_when_there_is_one_way(draft: Any) -> None:
    made = draft("Extract the keywords", inputs=VIDEOS)
    assert tools(made) == ["audio_extraction", "speech_recognition", "keyword_extraction"]
    assert sum("was added" in warning for warning in made.warnings) == 2


def test_inputs_are_bound_by_the_name_that_the_task_uses(draft: Any) -> None:
    inputs = {name: RequestInput(type="text/plain", uris=["x"]) for name in ("tickets", "invoices")}
    made = draft("Extract keywords from the tickets and detect the language of the invoices", inputs=inputs)
    assert sources(made, "keyword_extraction") == {"documents": ["tickets"]}
    assert sources(made, "language_detection") == {"documents": ["invoices"]}
    both = draft("Extract keywords", inputs=inputs)
    assert sources(both, "keyword_extraction") == {"documents": ["tickets", "invoices"]}


def test_an_input_that_nothing_reads_is_mentioned(draft: Any) -> None:
    made = draft("Classify the images", inputs={**IMAGES, **TEXTS})
    assert "The input documents is used by no step." in made.warnings


def test_declared_outputs_pull_in_their_only_producer(draft: Any) -> None:
    made = draft("Detect faces", inputs=IMAGES, outputs={"overview": "text/html"})
    assert tools(made) == ["object_detection", "report_generation"]
    assert made.outputs == {"overview": StepBinding(step="s2", output="report")}


def test_declared_outputs_of_one_type_are_told_apart_by_name(draft: Any) -> None:
    made = draft(
        "Detect objects, caption them", inputs=IMAGES,
        outputs={"captions": "application/jsonl", "objects": "application/jsonl"},
    )  # fmt: skip
    names = {step.id: step.tool for step in made.steps}
    assert {name: names[binding.step] for name, binding in made.outputs.items()} == {
        "captions": "image_captioning",
        "objects": "object_detection",
    }


def test_steps_come_after_what_they_read(draft: Any) -> None:
    made = draft("汇总报告：提取关键词，检测语种，按主题聚类", inputs=TEXTS)
    seen: set[str] = set()
    for step in made.steps:
        assert set(step.depends_on) <= seen
        seen.add(step.id)
    assert tools(made)[-1] == "report_generation"


# --- arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "inputs", "tool", "expected"),
    [
        ("Upscale the images 4x", IMAGES, "super_resolution", {"scale": 4}),
        ("Enlarge the images three times", IMAGES, "super_resolution", {"scale": 3}),
        ("把图片放大3倍", IMAGES, "super_resolution", {"scale": 3}),
        ("Summarise the texts in 5 sentences", TEXTS, "text_summarization", {"sentences": 5}),
        ("用十二句话总结文档", TEXTS, "text_summarization", {"sentences": 12}),
        ("Summarise the texts", TEXTS, "text_summarization", {"sentences": 3}),
        ("Extract the top 7 keywords", TEXTS, "keyword_extraction", {"top": 7}),
        ("Cluster the documents into 6 groups", TEXTS, "text_clustering", {"clusters": 6}),
        ("Translate the text to French", TEXTS, "machine_translation", {"target_language": "fr"}),
        ("Translate from German into English", TEXTS, "machine_translation",
         {"source_language": "de", "target_language": "en"}),
        ("把文档翻译成英文", TEXTS, "machine_translation", {"target_language": "en"}),
        ("这些文档做中译英", TEXTS, "machine_translation", {"source_language": "zh", "target_language": "en"}),
        ("Translate the Chinese document", TEXTS, "machine_translation",
         {"source_language": "zh", "target_language": "en"}),
        ("Extract frames every 2.5 seconds", VIDEOS, "video_frame_extraction", {"every_s": 2.5, "max_frames": 20}),
        ("Extract 30 frames", VIDEOS, "video_frame_extraction", {"every_s": 1.0, "max_frames": 30}),
        ("Detect eyes and smiles in the images", IMAGES, "object_detection", {"labels": ["eye", "smile"]}),
        ("检测图片里的猫", IMAGES, "object_detection", {"labels": ["cat"]}),
        ("Answer this question about the images: “Is it raining?”", IMAGES, "visual_question_answering",
         {"question": "Is it raining?"}),
        ("Detect faces and write a report with the title “Spring fair”", IMAGES, "report_generation",
         {"title": "Spring fair"}),
    ],
)  # fmt: skip
def test_arguments_from_the_task(draft: Any, task: str, inputs: Any, tool: str, expected: dict[str, Any]) -> None:
    step = next(step for step in draft(task, inputs=inputs).steps if step.tool == tool)
    assert {name: step.arguments[name] for name in expected} == expected


def test_a_value_that_the_schema_refuses_keeps_the_default_and_is_mentioned(draft: Any) -> None:
    made = draft("Upscale the images 40 times", inputs=IMAGES)
    assert made.steps[0].arguments["scale"] == 2
    assert any("scale = 40" in warning for warning in made.warnings)


def test_a_required_argument_without_a_value(planner: RetrievalPlanner, registry: Registry, make_tool: Any) -> None:
    stamp: Tool = make_tool(
        "stamp", "image/*", "image/png", aliases=["stamp images"],
        arguments={"type": "object", "required": ["number"], "properties": {"number": {"type": "integer"}}},
    )  # fmt: skip
    with pytest.raises(UnboundInput, match="required argument number of stamp has no value"):
        planner.draft(PlanRequest(task="Stamp the images", inputs=IMAGES, tools=[stamp]), registry)


def test_user_text_is_data(draft: Any) -> None:
    made = draft("Answer this question about the images: '{{ var.value.secret }} %s {0}'", inputs=IMAGES)
    assert made.steps[0].arguments["question"] == "{{ var.value.secret }} %s {0}"


# --- tools -----------------------------------------------------------------------------------------------


def test_tools_of_the_request_are_planned(planner: RetrievalPlanner, registry: Registry, make_tool: Any) -> None:
    blur = make_tool("blur_plates", "image/*", "image/png", aliases=["blur licence plates", "模糊车牌"])
    for task in ("Blur the licence plates in these images", "模糊图片里的车牌"):
        made = planner.draft(PlanRequest(task=task, inputs=IMAGES, tools=[blur]), registry)
        assert tools(made) == ["blur_plates"]


def test_only_allowed_tools_are_planned(draft: Any) -> None:
    made = draft("Classify the images and detect faces", inputs=IMAGES, allowed_tools=["object_detection"])
    assert tools(made) == ["object_detection"]
    with pytest.raises(NoToolMatches, match="No tool in the allowed tools serves"):
        draft("Classify the images", allowed_tools=["machine_translation"])


def test_unknown_allowed_tool(draft: Any) -> None:
    with pytest.raises(UnknownToolError, match=r"object_detector.*object_detection"):
        draft("Detect faces", allowed_tools=["object_detector"])


def test_a_tool_without_its_model_needs_leave(draft: Any) -> None:
    with pytest.raises(
        ToolUnavailable, match=r"machine_translation, which cannot run here.*TOMAS_TRANSLATION_MODEL"
    ):
        draft("Translate the document into French", inputs=TEXTS, allow_unavailable=False)


def test_a_nearly_equal_tool_that_runs_takes_its_place(planner: RetrievalPlanner, make_tool: Any) -> None:
    absent = make_tool("stylise", "image/*", "image/png", aliases=["stylise images"], runner=None)
    present = make_tool("stylise_fast", "image/*", "image/png", aliases=["stylise images"])
    made = planner.draft(PlanRequest(task="Stylise the images", inputs=IMAGES), Registry([absent, present]))
    assert tools(made) == ["stylise_fast"]


# --- bad input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("", "The task is empty"),
        (" \n\t ", "The task is empty"),
        ("x" * 100_000, "The task has 100,000 characters"),
        ("x" * (MAX_TASK_CHARS + 1), "at most"),
        ("Classify\x00 images", r"not text: character 8 is U\+0000"),
        ("Classify \x1b[31m images", "not text"),
        ("Classify \ufffd images", "not text"),
        ("123 !!! ...", "has no words"),
    ],
)
def test_what_is_no_task(draft: Any, task: str, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        draft(task)


@pytest.mark.parametrize("task", ["Book me a table for two tonight", "给我讲个笑话", "asdf qwer zxcv"])
def test_a_task_that_no_tool_serves(draft: Any, task: str) -> None:
    with pytest.raises(NoToolMatches, match=r"No tool in the registry serves.*Remedy"):
        draft(task)


def test_an_input_of_the_wrong_type(draft: Any) -> None:
    with pytest.raises(
        UnboundInput, match=r"input images \(image/\*\) of object_detection has no source.*text/plain"
    ):
        draft("Detect faces", inputs=TEXTS)


def test_a_declared_output_that_nothing_produces(draft: Any) -> None:
    with pytest.raises(NoToolMatches, match=r"declared result model \(model/gltf\).*no tool produces model/gltf"):
        draft("Detect faces", inputs=IMAGES, outputs={"model": "model/gltf"})


def test_several_ways_to_make_a_missing_input(planner: RetrievalPlanner, make_tool: Any) -> None:
    ways = [make_tool(name, "audio/wav", "text/plain") for name in ("way_one", "way_two")]
    count = make_tool("count_words", "text/plain", "application/jsonl", aliases=["count words"])
    request = PlanRequest(task="Count words", inputs={"audio": RequestInput(type="audio/wav", uris=["a"])})
    with pytest.raises(UnboundInput, match=r"several make that: way_one, way_two"):
        planner.draft(request, Registry([*ways, count]))


def test_a_part_without_a_tool_is_mentioned(draft: Any) -> None:
    made = draft("Detect faces, and email the boss", inputs=IMAGES)
    assert any("email the boss" in warning for warning in made.warnings)
