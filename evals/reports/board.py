"""What the dashboard shows of folders of runs, as data: leaderboard, samples, aspects."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from evals.metrics import MetricUse, load_metric
from evals.metrics.stats import AGGREGATES, Score
from evals.reports.plots import Point, on_scale
from evals.reports.tables import SCORE_HEADER, Run, read_run, score_rows
from evals.runner.pictures import image_requests
from evals.runner.records import EVERY_RECORDS, MANIFEST, RunFolder
from evals.suites import SUITES
from mtgen.errors import MtgenError, RecordsError, UnknownNameError
from mtgen.requests import ImageRequest, TextRequest, TranslationRequest

Request = TextRequest | ImageRequest | TranslationRequest
OF_WHOLE_SETS = ("correlation", "set", "f1_difference", "largest_gap")
"""Aggregates that give a single sample no value of its own."""
NEEDED = ("suite", "model", "num_samples", "started")
"""What a manifest must hold to stand on the board."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run on the board."""

    name: str
    """Its folder below the results folder."""
    folder: Path
    suite: str
    model: str
    started: str
    """When, in UTC, as ISO 8601."""
    num_done: int
    num_samples: int
    main: Score | None
    """The suite's first score; None where there is none yet, or `note` says why."""
    note: str = ""

    @property
    def is_complete(self) -> bool:
        return self.num_done == self.num_samples

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the place on disk."""
        return {
            "run": self.name, "suite": self.suite, "model": self.model, "started": self.started,
            "num_done": self.num_done, "num_samples": self.num_samples,
            "score": self.main and self.main.as_dict(), "note": self.note,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Board:
    """All runs, newest first, and why some folders are none."""

    entries: tuple[Entry, ...]
    damaged: tuple[str, ...]
    """Name of each folder that cannot be read, with the reason."""

    def find(self, name: str) -> Entry:
        """The run of that name.

        Raises:
            UnknownNameError: there is none; suggests the nearest.
        """
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise UnknownNameError("run", name, [entry.name for entry in self.entries])


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sample with its answer, as one score sees it."""

    id: str
    kind: str
    value: float | None
    """Of this sample alone; None where the score is of the whole set, or could not be made."""
    asked: str
    output: str | None
    expected: str
    pictures: tuple[Path, ...]
    error: str | None
    record: dict[str, Any]


def read_board(roots: Sequence[Path]) -> Board:
    """The runs below some folders, at most two levels deep; a run of an earlier root goes first.

    Runs are scored once and again when their files change.
    """
    entries: dict[str, Entry] = {}
    damaged = {}
    for root in roots:
        for path in sorted([*root.glob(f"*/{MANIFEST}"), *root.glob(f"*/*/{MANIFEST}")]):
            name = path.parent.relative_to(root).as_posix()
            if name in entries or name in damaged:
                continue
            try:
                entries[name] = _entry(name, path.parent, stamp(path.parent))
            except (MtgenError, OSError, ValueError) as error:
                damaged[name] = f"{name} ({error})"
    newest = sorted(entries.values(), key=lambda entry: entry.started, reverse=True)
    return Board(entries=tuple(newest), damaged=tuple(damaged.values()))


def stamp(folder: Path) -> tuple[int, ...]:
    """Changes whenever a run's files do."""
    there = sorted([*folder.glob(MANIFEST), *folder.glob(EVERY_RECORDS)])
    return tuple(part for p in there for part in (p.stat().st_mtime_ns, p.stat().st_size))


@lru_cache(maxsize=2048)
def _entry(name: str, folder: Path, stamped: tuple[int, ...]) -> Entry:
    run = RunFolder(folder)
    manifest, records = run.manifest(), run.records()
    missing = [key for key in NEEDED if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise RecordsError(f"its {MANIFEST} does not say {', '.join(missing)}")
    main, note = None, ""
    suite = SUITES.get(manifest["suite"])
    if suite is None:
        note = "this version has no such suite, so that it cannot be scored"
    elif records:
        for record in records:
            record["folder"] = str(folder)
        try:
            main = suite.metrics[0].score(records)
            if main.error:
                note, main = f"cannot be scored: {main.error}", None
            elif manifest.get("suite_sha256") != shipped_checksum(suite.name):
                note = "made with another version of the samples"
        except MtgenError as error:
            note = f"cannot be scored: {error}"
    return Entry(
        name=name, folder=folder, suite=str(manifest["suite"]), model=str(manifest["model"]),
        started=str(manifest["started"]), num_done=len(records),
        num_samples=int(manifest["num_samples"]), main=main, note=note,
    )  # fmt: skip


@lru_cache
def shipped_checksum(suite: str) -> str | None:
    """sha256 of a suite's samples as they are here; None where its files are elsewhere."""
    try:
        return SUITES[suite].checksum
    except MtgenError:
        return None


def read_scored(folder: Path) -> Run:
    """A run with all its scores, which are kept until its files change; errors as `read_run`."""
    return _scored(folder, stamp(folder))


@lru_cache(maxsize=16)
def _scored(folder: Path, stamped: tuple[int, ...]) -> Run:
    return read_run(folder)


def use_of(run: Run, name: str) -> MetricUse:
    """The suite's score of that name.

    Raises:
        UnknownNameError: there is none; suggests the nearest.
    """
    uses = {use.name: use for use in SUITES[run.manifest["suite"]].metrics}
    if name not in uses:
        raise UnknownNameError("score", name, uses)
    return uses[name]


def sample_values(use: MetricUse, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The score of each sample that has one by itself."""
    aggregate = load_metric(use.metric).aggregate
    if aggregate in OF_WHOLE_SETS:
        return {}
    values = {name: AGGREGATES[aggregate]([row]) for name, row in _rows(use, records)}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _rows(use: MetricUse, records: Sequence[dict[str, Any]]) -> list[tuple[str, list[float]]]:
    """Parts of the samples; without those of a ratio whose lower part is nothing."""
    parts = use.parts(records)[0]
    is_ratio = "ratio" in load_metric(use.metric).aggregate
    return [(name, row) for name, row in parts.items() if not is_ratio or all(row[1::2])]


def samples_of(run: Run, use: MetricUse, *, best_first: bool = False) -> list[Shown]:
    """The samples that a score is of, worst first; those without a value come last."""
    values = sample_values(use, run.records)
    concerned = use.inputs(run.records)
    shown = [
        shown_sample(run, record, values.get(record["id"]))
        for record in run.records
        if record["id"] in concerned
    ]
    up = use.higher_is_better != best_first
    known = [sample for sample in shown if sample.value is not None]
    known.sort(key=lambda sample: sample.value or 0.0, reverse=not up)
    return known + [sample for sample in shown if sample.value is None]


def shown_sample(run: Run, record: dict[str, Any], value: float | None) -> Shown:
    """What was asked, what came, and what was expected, in words."""
    sample, kind = record["sample"], record["kind"]
    asked = sample.get("prompt") or sample.get("text") or ""
    output, expected = record["output"], ""
    if kind == "text":
        expected = "; ".join(map(check_words, sample.get("checks") or ()))
    elif kind == "translation":
        kept = [f"keeps {item}" for item in sample.get("keep") or ()]
        expected = "\n".join([*(sample.get("references") or ()), ", ".join(kept)]).strip()
    elif kind == "likelihood" and record["nll"] is not None:
        per_token = record["nll"] / record["num_tokens"]
        output = f"{per_token:.2f} nats a token over {record['num_tokens']} tokens"
    elif kind == "choice":
        options = ["".join(option) for option in sample["options"]]
        nlls = record.get("option_nlls") or [None] * len(options)
        asked = "\n".join(
            f"{option}" + ("" if nll is None else f"   ({nll:.1f} nats)")
            for option, nll in zip(options, nlls, strict=True)
        )
        expected = "" if sample.get("answer") is None else options[sample["answer"]]
    elif kind == "marked-translation":
        asked, expected = " ".join(sample["sentences"]), "\n".join(sample["references"])
    elif kind == "image":
        asked = "\n".join(sample["prompts"].values())
        expected = "" if not sample.get("wanted") else json.dumps(sample["wanted"])
    if p_values := record.get("p_values"):
        output = "\n\n".join(
            filter(None, [output if asked != output else "", found_words(p_values)])
        )
    return Shown(
        id=record["id"], kind=kind, value=value, asked=asked, output=output, expected=expected,
        pictures=tuple(run.folder / image["file"] for image in record.get("images") or ()),
        error=record["error"], record=record,
    )  # fmt: skip


def check_words(check: dict[str, Any]) -> str:
    """`list_items n=3`."""
    rest = (f"{name}={value}" for name, value in check.items() if name != "type")
    return " ".join([str(check["type"]), *rest])


def found_words(p_values: dict[str, list[float]]) -> str:
    """What was read of a mark: `50 tokens, key: p = 0.0021`."""
    lines = []
    for read, values in p_values.items():
        if len(values) == 1:
            lines.append(f"{read}: p = {values[0]:.2g}")
        elif values:
            lines.append(f"{read}: {len(values)} keys, p = {min(values):.2g} at least")
    return "\n".join(lines)


def requests_of(run: Run, record: dict[str, Any]) -> list[Request]:
    """What the model was asked: requests for each language of pictures, one of else.

    None for samples that ask for no output.

    Raises:
        BadRequestError: this version knows such a request no more.
    """
    sample, settings = record["sample"], run.manifest.get("settings") or {}
    if record["kind"] == "text":
        asked = {"prompt": sample["prompt"], "max_new_tokens": sample["max_new_tokens"]}
        return [TextRequest(**asked, seed=record["seed"], **settings)]
    if record["kind"] == "marked-text":
        from evals.runner.marks import text_request

        return [text_request(sample, record["seed"])]
    if record["kind"] == "marked-picture":
        return [ImageRequest(prompt=sample["prompt"], seed=record["seed"])]
    if record["kind"] == "marked-translation":
        text, mark = " ".join(sample["sentences"]), sample["mark"]
        languages = {"source": sample["source"], "target": sample["target"]}
        return [TranslationRequest(text=text, mark=mark, **languages)]
    if record["kind"] == "image":
        drawn = image_requests(sample["prompts"], sample["num_images"], record["seed"], settings)
        return [request for _, request in drawn]
    if record["kind"] == "translation":
        glossary = tuple((term, meaning) for term, meaning in sample.get("glossary") or ())
        return [
            TranslationRequest(
                text=sample["text"], source=sample["source"], target=sample["target"],
                glossary=glossary, **settings,
            )
        ]  # fmt: skip
    return []


def models_of(board: Board) -> list[str]:
    """Models that have a score, those with the newest runs first.

    A trunk with an expert stands for the trunk too, whose aspects it has.
    """
    names = list(dict.fromkeys(entry.model for entry in board.entries if entry.main))
    trunks = {trunk_of(name) for name in names if name != trunk_of(name)}
    return [name for name in names if name not in trunks]


def trunk_of(model: str) -> str:
    """`A/packed` of `A/packed+translation-1a2b3c4d`, as runs of translations name their model."""
    return model if "://" in model else model.partition("+")[0]


def is_of(entry: Entry, model: str) -> bool:
    """Whether a run says something of a model: its own, or its trunk's where that does the task.

    The trunk alone, as the baseline of translation, draws no pictures.
    """
    if entry.model == model:
        return True
    drawn = model.endswith("+no-expert") and SUITES[entry.suite].task != "text"
    return entry.model == trunk_of(model) and not drawn


def aspects_of(board: Board, model: str) -> list[Point]:
    """A model's main scores that have a scale, by suite; of several runs the newest whole one.

    Args:
        board: All runs.
        model: One of `models_of`.
    """
    points = {}
    for entry in board.entries:
        if not is_of(entry, model) or entry.main is None or not entry.is_complete:
            continue
        axis = f"{SUITES[entry.suite].aspect} ({entry.suite})"
        if axis not in points and (point := on_scale(entry.main, axis)):
            points[axis] = point
    order = [f"{suite.aspect} ({suite.name})" for suite in SUITES.values()]
    return sorted(points.values(), key=lambda point: order.index(point.axis))


def points_of(run: Run) -> list[Point]:
    """The scores of a run that have a scale."""
    return [point for score in run.scores if (point := on_scale(score, score.name))]


def scores_csv(run: Run) -> str:
    """The scores with what is known of the run, a line for each score."""
    manifest, file = run.manifest, io.StringIO()
    facts = ["suite", "model", "seed", "limit", "mtgen", "commit", "started"]
    writer = csv.writer(file, lineterminator="\n")
    header = ["score", "value", "ci95_low", "ci95_high", "can_tell", *SCORE_HEADER[4:]]
    writer.writerow([*header, *facts])
    for score, row in zip(run.scores, score_rows(run.scores), strict=True):
        numbers = [score.value, *(score.ci95 or (None, None)), score.mde]
        cells = ["" if number is None else repr(number) for number in numbers]
        writer.writerow([score.name, *cells, *row[4:], *(manifest.get(fact) for fact in facts)])
    return file.getvalue()
