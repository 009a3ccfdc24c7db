"""Settings come from the environment, and a bad one is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tomas.config import get_settings, shared_file
from tomas.errors import ConfigError


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_environment_overrides_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMAS__RUNTIME__NAIVE_MODE__ENABLED", "true")
    monkeypatch.setenv("TOMAS__PLANNER__MAX_STEPS", "7")
    assert get_settings().runtime.naive_mode.enabled
    assert get_settings().planner.max_steps == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [("TOMAS__PLANNER__MAX_STEPS", "0"), ("TOMAS__PLANNER__HORIZON_S", "nan"), ("TOMAS__STORE__TYPO", "1")],
)
def test_a_bad_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=name):
        get_settings()


def test_the_password_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOMAS__STORE__DSN", "host=db password=hunter2")
    assert "hunter2" not in repr(get_settings())


def test_a_missing_shipped_file_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="no_such_file"):
        shared_file("no_such_file")
