"""Metrics as `evaluate` modules, loaded from this folder, offline.

A module's `compute` returns `{"value": ..., "per_sample": [...]}`: the number for the whole
set, and for each sample the parts from which the number is made again for the bootstrap. How
the parts combine is the module's class attribute `aggregate`, a name in `stats.AGGREGATES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from evals.metrics.stats import AGGREGATES, Score, bootstrap_ci
from mtgen.errors import UnknownNameError

FOLDER = Path(__file__).parent

Record = Mapping[str, Any]
"""One sample with its answer: the fields of `evals.runner.records.Record`."""


@cache
def load_metric(name: str) -> Any:
    """An `evaluate` module of this folder.

    Raises:
        UnknownNameError: no such module.
    """
    if name not in EXTRACT:
        raise UnknownNameError("metric", name, EXTRACT)
    import evaluate

    return evaluate.load(str(FOLDER / f"{name}.py"), keep_in_memory=True)


def _text(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    return None if record["output"] is None else {"predictions": record["output"]}


def _checked(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if not record["sample"].get("checks") or record["output"] is None:
        return None
    checks = json.dumps(record["sample"]["checks"])
    return {"predictions": record["output"], "references": checks}


def _likelihood(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    if record["nll"] is None:
        return None
    return {"predictions": record["nll"], "references": record["num_tokens"]}


def _timing(record: Record, options: Mapping[str, Any]) -> dict[str, Any] | None:
    value = record.get(options["of"])
    return None if value is None else {"predictions": value}


EXTRACT: dict[str, tuple[str, Callable[[Record, Mapping[str, Any]], dict[str, Any] | None]]] = {
    "instruction_following": ("text", _checked),
    "distinct_n": ("text", _text),
    "repetition": ("text", _text),
    "perplexity": ("likelihood", _likelihood),
    "latency": ("text", _timing),
}
"""For each metric the kind of sample that it scores, and its inputs from one record."""


@dataclass(frozen=True, kw_only=True)
class MetricUse:
    """A metric as a suite uses it."""

    metric: str
    unit: str
    higher_is_better: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`distinct_2`, `latency_first_token_s`: the metric with what was chosen."""
        if "n" in self.options:
            return self.metric.removesuffix("_n") + f"_{self.options['n']}"
        return "_".join([self.metric, *map(str, self.options.values())])

    def signature(self) -> str:
        """What the number is, without how its interval was made."""
        options = "".join(f"|{k}:{v}" for k, v in self.options.items())
        metric = load_metric(self.metric)
        return f"{self.metric}{options}|agg:{metric.aggregate}|v:{metric.version}"

    def parts(self, records: Sequence[Record]) -> tuple[dict[str, list[float]], int]:
        """Per-sample parts by sample id, and how many samples could not be scored."""
        kind, extract = EXTRACT[self.metric]
        relevant = [r for r in records if r["kind"] == kind]
        inputs = {r["id"]: extract(r, self.options) for r in relevant}
        scored = {name: given for name, given in inputs.items() if given is not None}
        if not scored:
            return {}, len(inputs)
        columns: dict[str, list[Any]] = {}
        for given in scored.values():
            for column, value in given.items():
                columns.setdefault(column, []).append(value)
        options = {k: v for k, v in self.options.items() if k != "of"}
        rows = load_metric(self.metric).compute(**columns, **options)["per_sample"]
        parts = {name: row for name, row in zip(scored, rows, strict=True) if row is not None}
        return parts, len(inputs) - len(parts)

    def score(self, records: Sequence[Record]) -> Score:
        """Value, interval and counts over all records that the metric applies to."""
        parts, n_unscored = self.parts(records)
        aggregate = load_metric(self.metric).aggregate
        rows = list(parts.values())
        interval = bootstrap_ci(rows, aggregate) if rows else None
        return Score(
            name=self.name,
            value=AGGREGATES[aggregate](rows) if rows else None,
            ci95=interval.ci95 if interval else None,
            n_scored=len(rows),
            n_unscored=n_unscored,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            signature=self.signature() + (f"|ci:{interval.method}" if interval else ""),
        )
