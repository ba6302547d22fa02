"""A run's samples as a table: `samples.parquet`, one row each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.reports.tables import Run
from evals.suites import find_suite

TEXTS = ("id", "kind", "asked", "output", "error", "finish_reason")
NUMBERS = (
    "first_token_s", "tokens_per_s", "seconds_per_picture", "num_new_tokens", "nll", "num_tokens",
)  # fmt: skip


def asked(sample: dict[str, Any]) -> str | None:
    """The prompt or the text of a sample; of several, one a line."""
    if sample.get("prompts"):
        return "\n".join(sample["prompts"].values())
    if sample.get("options"):
        return "\n".join(context + continuation for context, continuation in sample["options"])
    return sample.get("prompt") or sample.get("text")


def sample_values(run: Run) -> dict[str, dict[str, float]]:
    """For each score that is made of one number a sample: these, by sample id."""
    values: dict[str, dict[str, float]] = {}
    for use, score in zip(find_suite(run.manifest["suite"]).metrics, run.scores, strict=True):
        parts = {} if score.error else use.parts(run.records)[0]
        if parts and all(len(row) == 1 for row in parts.values()):
            values[use.name] = {name: float(row[0]) for name, row in parts.items()}
    return values


def write_samples(run: Run, path: Path) -> None:
    """Writes the table: what was asked and answered, times, and each metric's value.

    Columns of metrics are named `score:NAME`; a value is missing where the metric does not apply
    or the sample could not be scored.

    Raises:
        OSError: it cannot be written.
    """
    import datasets

    values = sample_values(run)
    columns: dict[str, list[Any]] = {
        name: [record.get(name) for record in run.records] for name in (*TEXTS, *NUMBERS)
    }
    columns["asked"] = [asked(record["sample"]) for record in run.records]
    for name, by_id in values.items():
        columns[f"score:{name}"] = [by_id.get(record["id"]) for record in run.records]
    kinds = {name: datasets.Value("string" if name in TEXTS else "float64") for name in columns}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))
    with path.open("wb") as file:
        table.to_parquet(file)
