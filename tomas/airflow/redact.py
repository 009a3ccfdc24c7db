"""Removes credentials from plain data before it leaves in an HTTP response."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["public"]

_HIDDEN = "***"

_SECRET_KEY = re.compile(
    r"(^|[_\-.])(password|passwd|passphrase|secret|token|credentials?|authorization|api[_\-]?key|access[_\-]?key|private[_\-]?key)"
    r"($|[_\-.])",
    re.IGNORECASE,
)
_USER_INFO = re.compile(r"(?P<scheme>[a-z][a-z0-9+.\-]*://)[^\s/@]+@", re.IGNORECASE)
_SIGNED_QUERY = re.compile(
    r"(?P<name>[?&;](?:x-amz-[a-z\-]+|x-goog-[a-z\-]+|awsaccesskeyid|signature|sig|token|access_token|password|secret|key)=)[^&\s]+",
    re.IGNORECASE,
)
_DSN_PASSWORD = re.compile(r"\b(password\s*=\s*)('[^']*'|\S+)", re.IGNORECASE)


def public(value: Any) -> Any:
    """A copy of plain JSON data without credentials.

    Hidden are: values under keys that name a secret, user and password in URLs, signatures and tokens in
    their queries (pre-signed object store links), and ``password=`` of connection strings.
    """
    if isinstance(value, dict):
        return {
            key: _HIDDEN if _names_secret(key) and isinstance(item, str) else public(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [public(item) for item in value]
    if isinstance(value, str):
        return _public_text(value)
    return value


def _names_secret(key: object) -> bool:
    return isinstance(key, str) and _SECRET_KEY.search(key) is not None


def _public_text(text: str) -> str:
    text = _USER_INFO.sub(rf"\g<scheme>{_HIDDEN}@", text)
    text = _SIGNED_QUERY.sub(rf"\g<name>{_HIDDEN}", text)
    return _DSN_PASSWORD.sub(rf"\1{_HIDDEN}", text)
