"""Results of lm-evaluation-harness as scores of ours: `results_*.json` and `samples_*.jsonl`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, TypeGuard

from evals.metrics.stats import Score, bootstrap_ci, normal_interval
from mtgen.errors import RecordsError

RESULTS = "results_*.json"
UNIT = "as the task has it"


def result_files(path: Path) -> list[Path]:
    """The file itself, or all results below a folder (`--output_path`)."""
    return [path] if path.is_file() else sorted(path.rglob(RESULTS))


def read_results(path: Path) -> tuple[str, dict[str, list[Score]]]:
    """Name of the model, and scores by task.

    Where the samples were logged beside it (`--log_samples`), intervals are bootstrapped from them
    as ours are; else they are 1.96 of the harness's standard errors on each side.

    Raises:
        RecordsError: not a file that the harness writes.
    """
    try:
        held = json.loads(path.read_text("utf-8"))
        scores = {
            task: scores_of(held, task, row, read_samples(path, task))
            for task, row in held["results"].items()
        }
        return model_of(held), scores
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordsError(
            f"{path} is no results file of lm-evaluation-harness "
            f"({type(error).__name__}: {error}); it writes results_*.json with --output_path"
        ) from None


def model_of(held: dict[str, Any]) -> str:
    """Name of the model, else what its class was told."""
    config = held.get("config", {})
    given = config.get("model_args") or {}
    if isinstance(given, str):
        given = dict(pair.split("=", 1) for pair in given.split(",") if "=" in pair)
    return str(held.get("model_name") or given.get("pretrained") or config["model"])


def read_samples(results: Path, task: str) -> list[dict[str, Any]]:
    """What was logged of each sample in the same run; empty where nothing was."""
    date = results.stem.removeprefix("results_")
    path = results.with_name(f"samples_{task}_{date}.jsonl")
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def scores_of(
    held: dict[str, Any], task: str, row: dict[str, Any], samples: list[dict[str, Any]]
) -> list[Score]:
    """Of one task, `metric,filter` by `metric,filter`.

    Metrics that are no numbers are left out; so are the tasks' rows for groups, which have none.
    """
    count = held.get("n-samples", {}).get(task, {}).get("effective") or row.get("sample_len") or 0
    directions = held.get("higher_is_better", {}).get(task, {})
    scores = []
    for key, value in row.items():
        metric, comma, name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not is_number(value):
            continue
        error = row.get(f"{metric}_stderr,{name}")
        rows = [
            [float(sample[metric])]
            for sample in samples
            if sample.get("filter", name) == name and is_number(sample.get(metric))
        ]
        mean = sum(value for [value] in rows) / len(rows) if rows else None
        if mean is not None and math.isclose(mean, value, abs_tol=1e-6):
            interval = bootstrap_ci(rows, "mean")
        else:  # no samples, or a metric that is no mean of theirs
            interval = normal_interval(value, float(error)) if is_number(error) else None
        higher = directions.get(metric)
        version = held.get("versions", {}).get(task)
        scores.append(
            Score(
                name=metric if name == "none" else key, value=float(value),
                ci95=interval.ci95 if interval else None, n_scored=int(count), n_unscored=0,
                unit=UNIT, higher_is_better=higher is not False,
                signature=f"lm_eval:{held.get('lm_eval_version', 'unknown')}|{task}|v:{version}"
                + f"|n-shot:{held.get('n-shot', {}).get(task)}"
                + (f"|ci:{interval.method}" if interval else ""),
                standard_error=interval.standard_error if interval else None,
            )
        )  # fmt: skip
    return scores


def is_number(value: Any) -> TypeGuard[float]:
    """A finite one; the harness writes "N/A" for an error that it cannot give."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
