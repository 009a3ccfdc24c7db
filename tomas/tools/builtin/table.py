"""Cleaning and profiling CSV tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tomas.tools.builtin.files import Inputs, Outputs, artifact, write_jsonl
from tomas.tools.naming import output_names

if TYPE_CHECKING:
    import pandas as pd


def preprocess_tables(inputs: Inputs, arguments: dict[str, Any], output_dir: Path) -> Outputs:
    """A cleaned table per table, and a record with what was found and done."""
    import pandas as pd

    paths = inputs["tables"]
    outputs, records = [], []
    for path, name in zip(paths, output_names(paths, ".csv"), strict=True):
        try:
            frame = pd.read_csv(path, encoding="utf-8-sig")
        except (ValueError, UnicodeError) as error:
            raise ValueError(f"{path.name} is not a CSV table in UTF-8: {error}") from None
        rows = len(frame)
        frame = frame.dropna(how="all")
        empty = rows - len(frame)
        frame = frame.drop_duplicates()
        duplicates = rows - empty - len(frame)
        missing = {str(column): int(count) for column, count in frame.isna().sum().items() if count}
        frame = _fill(frame, str(arguments["missing"]))
        columns = [_describe(frame[column]) for column in frame.columns]
        frame = _scale(frame, str(arguments["scale"]))
        frame.to_csv(output_dir / name, index=False, lineterminator="\n")
        outputs.append(artifact("tables", "text/csv", output_dir / name))
        records.append(
            {
                "file": path.name,
                "rows": rows,
                "rows_left": len(frame),
                "empty_rows": empty,
                "duplicates": duplicates,
                "missing": missing,
                "columns": columns,
            }
        )
    return [*outputs, write_jsonl("profile", records, output_dir)]


def _numeric(frame: pd.DataFrame) -> list[str]:
    return [str(column) for column in frame.select_dtypes(include="number").columns]


def _fill(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "drop":
        return frame.dropna()
    numbers = _numeric(frame)
    values = frame[numbers].median() if how == "median" else frame[numbers].mean()
    filled = frame.fillna(values)
    texts = [column for column in frame.columns if column not in numbers]
    return filled.assign(**{column: filled[column].fillna("") for column in texts})


def _scale(frame: pd.DataFrame, how: str) -> pd.DataFrame:
    if how == "none":
        return frame
    scaled = {}
    for column in _numeric(frame):
        values = frame[column].astype(float)
        low, spread = (
            (values.min(), values.max() - values.min()) if how == "minmax" else (values.mean(), values.std(ddof=0))
        )
        scaled[column] = (values - low) / spread if spread > 0 else values * 0.0
    return frame.assign(**scaled)


def _describe(column: pd.Series[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"column": str(column.name), "kind": "text", "distinct": int(column.nunique())}
    if column.dtype.kind in "iufb" and len(column):
        values = column.astype(float)
        facts["kind"] = "number"
        for name, value in (("min", values.min()), ("mean", values.mean()), ("max", values.max())):
            facts[name] = round(float(value), 6) if math.isfinite(float(value)) else None
    return facts
