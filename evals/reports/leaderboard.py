"""One table over several runs, ours and those of lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.metrics.stats import Score
from evals.reports.lm_eval import read_results, result_files
from evals.reports.tables import interval, number, read_run
from evals.runner.records import MANIFEST
from mtgen.errors import RecordsError

HEADER = ["suite", "score", "model", "value", "95% interval", "n", "better", "from"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A score, with whose it is and where it was found."""

    model: str
    suite: str
    score: Score
    source: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; the score's fields beside the others."""
        found = {"model": self.model, "suite": self.suite, "source": self.source}
        return found | self.score.as_dict()


def read_entries(paths: Sequence[Path]) -> list[Entry]:
    """Scores of all runs, those of one suite and name together, the best first.

    Args:
        paths: Folders of runs or of groups of runs, results of lm-evaluation-harness or the folder
            that it wrote them to.

    Raises:
        RecordsError: nothing of this kind is there, or it is damaged.
    """
    entries = [entry for path in paths for entry in entries_of(path)]
    places = {key: place for place, key in enumerate(dict.fromkeys(map(key_of, entries)))}

    def order(entry: Entry) -> tuple[int, bool, float]:
        score = entry.score
        sign = -1 if score.higher_is_better else 1
        return places[key_of(entry)], score.value is None, sign * (score.value or 0.0)

    return sorted(entries, key=order)


def key_of(entry: Entry) -> tuple[str, str]:
    """Entries that are alike in this are beside each other."""
    return entry.suite, entry.score.name


def entries_of(path: Path) -> list[Entry]:
    """Scores of what is at a path."""
    if path.is_dir():
        runs = [found.parent for found in sorted(path.rglob(MANIFEST))]
        found = [
            Entry(model=run.manifest["model"], suite=run.manifest["suite"], score=score,
                  source=str(run.folder))
            for run in map(read_run, runs)
            for score in run.scores
        ]  # fmt: skip
        if found:
            return found
    entries = []
    for file in result_files(path):
        model, tasks = read_results(file)
        entries += [
            Entry(model=model, suite=task, score=score, source=str(file))
            for task, scores in tasks.items()
            for score in scores
        ]
    if not entries:
        raise RecordsError(
            f"{path} holds neither a run nor scores of lm-evaluation-harness; make one with "
            "'python -m evals run'"
        )
    return entries


def entry_rows(entries: Sequence[Entry]) -> list[list[str]]:
    """Cells under HEADER."""
    return [
        [
            entry.suite, entry.score.name, entry.model, number(entry.score.value),
            interval(entry.score.ci95), str(entry.score.n_scored),
            "up" if entry.score.higher_is_better else "down", entry.source,
        ]
        for entry in entries
    ]  # fmt: skip
