"""No credential leaves in a response."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tomas.airflow.redact import public

SECRET = "hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"s3://key:{SECRET}@bucket/path",
        f"postgresql://tomas:{SECRET}@db:5432/tomas",
        f"cannot connect: host=db password={SECRET} user=tomas",
        f"cannot connect: password = '{SECRET} x' user=tomas",
        f"https://store/o?X-Amz-Credential=a&X-Amz-Signature={SECRET}",
        f"https://store/o?sv=1&sig={SECRET}&se=2",
        f"https://store/o?access_token={SECRET}",
    ],
)
def test_secrets_inside_texts_are_hidden(text: str) -> None:
    assert SECRET not in public(text)


@pytest.mark.parametrize(
    "key", ["password", "api_key", "apiKey", "db.password", "SECRET", "auth-token", "aws_secret", "credentials"]
)
def test_values_under_names_of_secrets_are_hidden(key: str) -> None:
    assert SECRET not in json.dumps(public({"arguments": [{key: SECRET}]}))


@pytest.mark.parametrize("key", ["tokens", "max_tokens", "keywords", "monkey", "step_id", "peak_mem_gb"])
def test_names_that_only_look_alike_are_kept(key: str) -> None:
    assert public({key: "kept"}) == {key: "kept"}


def test_plain_texts_are_kept() -> None:
    for text in [
        "s3://bucket/path",
        "对一批图片进行分类",
        "mail me@example.org",
        "a key: value",
        "https://x/y?page=2",
    ]:
        assert public(text) == text


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_data)
def test_the_shape_is_kept_and_twice_is_once(data: object) -> None:
    once = public(data)
    assert type(once) is type(data)
    assert public(once) == once
