"""Joining the results of other steps into one self-contained HTML page."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, read_text, read_with_pillow

_MAX_ROWS = 500
_MAX_CELL = 600
_MAX_PICTURES = 200
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1c2024}
h1{font-size:1.6rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}th,td{border:1px solid #d9dde2;padding:.35rem .5rem;text-align:left;
vertical-align:top;overflow-wrap:anywhere}th{background:#f3f5f7}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem}figure{margin:0;width:10rem}
figure img{max-width:100%;display:block}figcaption{font-size:.8rem;overflow-wrap:anywhere}
"""


def generate_report(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """One table per JSONL file; pictures at the end. All values are escaped: they are data."""
    parts = [f"<h1>{escape(str(arguments['title']))}</h1>"]
    parts.extend(_section(path) for path in inputs["records"])
    pictures = list(inputs.get("images", []))[:_MAX_PICTURES]
    if pictures:
        figures = "".join(_figure(path) for path in pictures)
        parts.append(f'<h2>Images</h2><div class="pictures">{figures}</div>')
    title = escape(str(arguments["title"]))
    page = (
        '<!doctype html>\n<html><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
    target = output_dir / "report.html"
    target.write_text(page, encoding="utf-8")
    return [artifact("report", "text/html", target)]


def _section(path: Path) -> str:
    rows = _records(path)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(column))}</td>" for column in columns) + "</tr>"
        for row in rows[:_MAX_ROWS]
    )
    more = f"<p>{len(rows) - _MAX_ROWS} more rows.</p>" if len(rows) > _MAX_ROWS else ""
    return f"<h2>{escape(path.stem)} ({len(rows)})</h2><table><tr>{head}</tr>{body}</table>{more}"


def _records(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number} is not JSON: {error}") from None
        rows.append(row if isinstance(row, dict) else {"value": row})
    return rows


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = _plain(value)
    return escape(text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…")


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return " ".join(f"{key}={_plain(item)}" for key, item in value.items())
    return str(value)


def _figure(path: Path) -> str:
    image = read_with_pillow(path)
    image.thumbnail((160, 160))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    picture = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{picture}<figcaption>{escape(path.name)}</figcaption></figure>"
