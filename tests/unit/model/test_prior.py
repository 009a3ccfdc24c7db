"""What is known of a request before the network reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tomas.errors import DataError, ModelUnavailable
from tomas.model.example import ToolCard
from tomas.model.prior import LexicalPrior, Prior, load_prior
from tomas.model.prior_encoder import SentenceEncoder, installed_encoder
from tomas.model.prior_memory import KnownRequest, PlanMemory
from tomas.model.prior_terms import TermTable, content_words, terms

CARDS = tuple(
    ToolCard(name, text)
    for name, text in (
        ("clock_alarm_set", "clock alarm set: sets an alarm clock. 设置闹钟"),
        ("clock_alarm_cancel", "clock alarm cancel: removes an alarm. 取消闹钟"),
        ("train_ticket_query", "train ticket query: looks up trains. 查询火车票"),
        ("weather_query", "weather query: the forecast of a city. 查询天气"),
    )
)


def known() -> list[KnownRequest]:
    """Two kinds of habits, in many words."""
    hours = ("six", "seven", "eight", "nine", "ten", "noon")
    moved = [
        KnownRequest(f"Move my {a} alarm to {b}.", ("clock_alarm_cancel", "clock_alarm_set"))
        for a in hours
        for b in hours
        if a != b
    ]
    trips = [
        KnownRequest(
            f"Any train to {city} at {a}, and will it rain there?", ("train_ticket_query", "weather_query")
        )
        for city in ("Beijing", "Xian", "Lhasa")
        for a in hours
    ]
    return moved + trips


def written(prior: Prior, folder: Path) -> dict[str, Path]:
    """The files of a prior in a folder."""
    for name, content in prior.files().items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in prior.files()}


def test_terms_split_names_fold_numbers_and_read_chinese_by_character() -> None:
    assert terms("setAlarm 17") == terms("set_alarm 4") == terms("Set  ALARM, 2023!")
    assert terms("取消闹钟")[0] != terms("设置闹钟")[0]
    assert terms("")[0] == terms("…")[0] == {}


def test_function_words_are_no_sign_of_a_tool() -> None:
    assert content_words("Please cancel THE alarm for me").split() == ["cancel", "alarm"]
    assert content_words("请帮我把闹钟取消一下").split() == ["闹钟取消"]
    assert content_words("Do it for me") == "Do it for me"
    cards = (ToolCard("a", "what you do with it and for whom"), ToolCard("b", "removes alarms"))
    bare, polite = (
        LexicalPrior().scores(task, cards) for task in ("Removes alarms", "And do it for me with alarms")
    )
    assert bare.argmax() == polite.argmax() == 1


def test_a_text_is_most_like_itself() -> None:
    table = TermTable([card.text for card in CARDS])
    for number, card in enumerate(CARDS):
        likeness = table.likeness(card.text)
        assert int(likeness.argmax()) == number
        assert float(likeness[number]) == pytest.approx(1.0, abs=1e-5)
        assert likeness.min() >= 0.0
    assert not table.likeness("zzz").any()


@pytest.mark.parametrize(
    ("task", "tool"),
    [
        ("cancel the alarms", "clock_alarm_cancel"),
        ("北京天气", "weather_query"),
        ("train tickets", "train_ticket_query"),
    ],
)
def test_the_lexical_prior_finds_tools_by_words_of_either_language(task: str, tool: str) -> None:
    scores = LexicalPrior().scores(task, CARDS)
    assert CARDS[int(scores.argmax())].name == tool
    order = (2, 0, 3, 1)
    np.testing.assert_allclose(
        LexicalPrior().scores(task, [CARDS[k] for k in order]), scores[list(order)], atol=1e-6
    )


def test_a_memory_recalls_plans_of_similar_requests_in_their_order() -> None:
    memory, crossed = PlanMemory.fit(known(), CARDS)
    task = "Please move the alarm of half past six to seven."
    scores = memory.scores(task, CARDS)
    assert min(scores[:2]) > 0 > scores[2]
    first = memory.precedents(task, CARDS)[0]
    assert [CARDS[k].name for k in first.tools] == ["clock_alarm_cancel", "clock_alarm_set"]
    assert first.weight > 0.5
    assert sum(item.weight for item in memory.precedents(task, CARDS)) <= 1.0 + 1e-6
    assert all(crossed[i].plans[0][0] == item.plan for i, item in enumerate(known()))


def test_what_is_said_of_a_known_request_comes_from_others_alone() -> None:
    requests = [*known(), KnownRequest("Xylophone lessons, quick!", ("weather_query", "clock_alarm_set"))]
    memory, crossed = PlanMemory.fit(requests, CARDS)
    own = {card.name: value for card, value in zip(CARDS, memory.scores(requests[-1].task, CARDS), strict=True)}
    assert own["weather_query"] > 0 > crossed[-1].tools["weather_query"]


def test_tools_that_no_plan_knows_go_by_their_words_and_precedents_need_all_their_tools() -> None:
    memory, _ = PlanMemory.fit(known(), CARDS)
    new = (CARDS[0], ToolCard("sunset", "sunset: when the sun goes down"))
    task = "Move my six alarm to when the sun goes down"
    assert memory.scores(task, new)[1] == LexicalPrior().scores(task, new)[1]
    assert memory.precedents(task, new) == ()


def test_a_loaded_memory_says_the_same(tmp_path: Path) -> None:
    memory, _ = PlanMemory.fit(known(), CARDS)
    loaded = load_prior(written(memory, tmp_path))
    for task in ("Move my nine alarm to noon", "rain in Lhasa?", "", "火车"):
        np.testing.assert_array_equal(loaded.scores(task, CARDS), memory.scores(task, CARDS))
        assert loaded.precedents(task, CARDS) == memory.precedents(task, CARDS)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    memory, _ = PlanMemory.fit(known(), CARDS)
    files = written(memory, tmp_path)
    weights = files["prior.safetensors"].read_bytes()
    files["prior.safetensors"].write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelUnavailable, match="damaged"):
        load_prior(files)
    files["prior.safetensors"].write_bytes(weights)
    files["prior.json"].write_text('{"kind": "oracle"}')
    with pytest.raises(ModelUnavailable, match="oracle"):
        load_prior(files)
    files["prior.json"].write_text("[]")
    with pytest.raises(ModelUnavailable, match="damaged"):
        load_prior(files)
    assert load_prior({}).kind == "lexical"


def test_too_few_requests_are_no_memory() -> None:
    with pytest.raises(DataError, match="ten"):
        PlanMemory.fit(known()[:3], CARDS)


def test_the_encoder_puts_like_meanings_together() -> None:
    encoder = installed_encoder()
    if encoder is None:
        pytest.skip("the optional extra “encoder” is not installed")
    a, b, c = encoder.encode(["Cancel my flight.", "I don't need the plane ticket any more.", "Play some jazz."])[
        :, 1
    ]
    near, far = (float(x @ y / np.linalg.norm(x) / np.linalg.norm(y)) for x, y in ((a, b), (a, c)))
    assert near > far + 0.2
    memory, _ = PlanMemory.fit(known(), CARDS, encoder=encoder)
    assert memory.precedents("Postpone my wake-up from six to ten.", CARDS)[0].tools == (1, 0)


def test_upper_layers_trained_further_agree_with_the_plans_and_are_kept(tmp_path: Path) -> None:
    encoder = installed_encoder()
    if encoder is None:
        pytest.skip("the optional extra “encoder” is not installed")
    told: list[float] = []
    before = {name: value.clone() for name, value in encoder.upper_layers().state_dict().items()}
    memory, _ = PlanMemory.fit(known(), CARDS, encoder=encoder, tune_epochs=2, report=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    after = encoder.upper_layers().state_dict()
    assert all(bool((after[name] == value).all()) for name, value in before.items())
    task = "Postpone my wake-up from six to ten."
    assert memory.precedents(task, CARDS)[0].tools == (1, 0)
    files = written(memory, tmp_path)
    assert "prior_tuned.safetensors" in files
    loaded = load_prior(files)
    np.testing.assert_allclose(loaded.scores(task, CARDS), memory.scores(task, CARDS), atol=1e-6)
    plain, _ = PlanMemory.fit(known(), CARDS, encoder=encoder)
    assert float(np.abs(plain.scores(task, CARDS) - memory.scores(task, CARDS)).max()) > 1e-3
    del files["prior_tuned.safetensors"]
    with pytest.raises(ModelUnavailable, match="damaged"):
        load_prior(files)


def test_the_lower_states_lead_to_what_the_whole_encoder_says() -> None:
    encoder = installed_encoder()
    if encoder is None:
        pytest.skip("the optional extra “encoder” is not installed")
    texts = ["Cancel my flight to Xian, please.", "Rain?"]
    lower = [state.float().mean(dim=0).numpy() for state in encoder.read(texts).lower]
    np.testing.assert_allclose(np.stack(lower), encoder.encode(texts)[:, 0], atol=2e-3)


def test_an_altered_encoder_is_refused(tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        SentenceEncoder(tmp_path)
    with pytest.raises(ModelUnavailable, match="missing"):
        SentenceEncoder(tmp_path / "nowhere")
