"""Scores of a run, and differences between two runs, as data and as Markdown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.metrics.stats import ALPHA, Score, holm
from evals.runner.records import RunFolder
from evals.suites import find_suite
from mtgen.errors import RecordsError


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run with its scores."""

    folder: Path
    manifest: dict[str, Any]
    records: list[dict[str, Any]]
    scores: list[Score]

    @property
    def is_complete(self) -> bool:
        return len(self.records) == self.manifest["num_samples"]


def read_run(folder: Path) -> Run:
    """Reads a run and scores it.

    Raises:
        RecordsError: there is none, it is empty, or it is damaged.
    """
    run = RunFolder(folder)
    manifest, records = run.manifest(), run.records()
    if not records:
        raise RecordsError(f"{folder} has no records yet; run the suite first")
    suite = find_suite(manifest["suite"])
    for record in records:
        if record.get("images"):
            record["folder"] = str(folder)
    scores = [use.score(records) for use in suite.metrics]
    return Run(folder=folder, manifest=manifest, records=records, scores=scores)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Score of B less score of A over the samples that both scored."""

    name: str
    a: float | None
    b: float | None
    difference: float | None
    ci95: tuple[float, float] | None
    n: int
    n_unscored: int
    """Samples that A or B, or both, could not score."""
    unit: str
    higher_is_better: bool
    signature: str
    standard_error: float | None
    mde: float | None
    """Least difference that this comparison would find, in `unit`; None where nothing varies."""
    p_value: float | None
    """Two-sided, of this metric alone."""
    p_adjusted: float | None = None
    """By Holm's method, over all metrics that were compared."""

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no clear difference` where the adjusted p is 0.05 or more."""
        if self.difference is None or self.p_adjusted is None or self.p_adjusted >= ALPHA:
            return "no clear difference"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"verdict": self.verdict}


def compare(a: Run, b: Run) -> list[Difference]:
    """Paired differences, metric by metric, with p-values that are adjusted for their number.

    Raises:
        RecordsError: the runs are of different suites or of different versions of one.
    """
    for key in ("suite", "suite_sha256"):
        if a.manifest[key] != b.manifest[key]:
            raise RecordsError(
                f"{a.folder} and {b.folder} differ in {key}: {a.manifest[key]!r} and "
                f"{b.manifest[key]!r}; only runs of the same suite can be compared"
            )
    differences = []
    failed = {score.name for run in (a, b) for score in run.scores if score.error}
    for use in find_suite(a.manifest["suite"]).metrics:
        if use.name in failed:
            value_a, value_b, paired, n = None, None, None, 0
            n_left_out = len(use.applicable(a.records))
        else:
            value_a, value_b, paired, n, n_left_out = use.paired(a.records, b.records)
        differences.append(
            Difference(
                name=use.name,
                a=value_a,
                b=value_b,
                difference=paired.value if paired else None,
                ci95=paired.ci95 if paired else None,
                n=n,
                n_unscored=n_left_out,
                unit=use.unit,
                higher_is_better=use.higher_is_better,
                signature=use.signature(),
                standard_error=paired.standard_error if paired else None,
                mde=paired.mde if paired else None,
                p_value=paired.p_value if paired else None,
            )
        )
    adjusted = holm([difference.p_value for difference in differences])
    return [
        replace(difference, p_adjusted=p)
        for difference, p in zip(differences, adjusted, strict=True)
    ]


def number(value: float | None) -> str:
    """Three figures; a dash for what is missing."""
    return "–" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def interval(ci95: tuple[float, float] | None) -> str:
    return "–" if ci95 is None else f"{number(ci95[0])} to {number(ci95[1])}"


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A table that is readable as plain text too."""
    rows = [[" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def score_rows(scores: list[Score]) -> list[list[str]]:
    return [
        [
            score.name, number(score.value), interval(score.ci95), number(score.mde), score.unit,
            "up" if score.higher_is_better else "down", str(score.n_scored),
            str(score.n_unscored), score.signature,
        ]
        for score in scores
    ]  # fmt: skip


SCORE_HEADER = [
    "score",
    "value",
    "95% interval",
    "can tell",
    "unit",
    "better",
    "scored",
    "unscored",
    "signature",
]
TOLD = (
    "'can tell' is the least difference from an independent run of as many samples that would be "
    "found with 80% power at 5%."
)
TOLD_PAIRED = (
    "'can tell' is the least difference that this comparison would find with 80% power at 5%; the "
    "adjusted p (Holm) takes the number of scores into account, and the verdict follows it."
)
DIFFERENCE_HEADER = [
    "score", "A", "B", "B - A", "95% interval", "can tell", "p", "adjusted p", "unit", "n",
    "unscored", "verdict", "signature",
]  # fmt: skip


def difference_rows(differences: list[Difference]) -> list[list[str]]:
    return [
        [
            d.name, number(d.a), number(d.b), number(d.difference), interval(d.ci95),
            number(d.mde), number(d.p_value), number(d.p_adjusted), d.unit,
            str(d.n), str(d.n_unscored), d.verdict, d.signature,
        ]
        for d in differences
    ]  # fmt: skip


def failures(scores: list[Score]) -> list[str]:
    """A sentence for each metric that failed."""
    return [f"{s.name} could not be computed: {s.error}" for s in scores if s.error]


def run_json(run: Run) -> dict[str, Any]:
    """One run for `scores.json`: its manifest and scores."""
    scores = [score.as_dict() for score in run.scores]
    return {"folder": str(run.folder), **run.manifest, "scores": scores}


def run_markdown(run: Run) -> str:
    """One run as Markdown."""
    manifest = run.manifest
    facts = f"Model {manifest['model']}, seed {manifest['seed']}, mtgen {manifest['mtgen']}"
    facts += f", commit {manifest['commit']}" if manifest["commit"] else ""
    facts += f", {manifest['started']}, {manifest['machine']}."
    partial = "" if run.is_complete else (
        f"\n\nPartial: {len(run.records)} of {manifest['num_samples']} samples are done."
    )  # fmt: skip
    table = markdown_table(SCORE_HEADER, score_rows(run.scores))
    failed = "".join(f"\n{sentence}\n" for sentence in failures(run.scores))
    return f"# {manifest['suite']}\n\n{facts}{partial}\n\n{table}\n{failed}\n{TOLD}\n"
