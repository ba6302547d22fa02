"""One self-contained HTML page for a run: nothing in it is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from evals.reports.board import points_of
from evals.reports.plots import plot_radar, plot_scores, plot_speeds
from evals.reports.tables import SCORE_HEADER, TOLD, Run, failures, score_rows
from evals.suites import find_suite

THUMBNAIL_PX = 96
MAX_DRAWN = 80
"""Prompts whose pictures are shown: a page of about 1 MB."""
TEMPLATE = Path(__file__).parent / "page.html"


def thumbnail(path: Path) -> str:
    """A picture of a run as a data address, WebP of THUMBNAIL_PX."""
    from evals.judge.scoring import open_picture

    picture = open_picture(path)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=70)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode("ascii")


def drawn_samples(run: Run) -> list[dict[str, Any]]:
    """Prompts with their pictures, at most MAX_DRAWN."""
    kept = [record for record in run.records if record["kind"] == "image"][:MAX_DRAWN]
    return [
        {
            "prompts": list(record["sample"]["prompts"].values()),
            "error": record["error"],
            "pictures": [thumbnail(run.folder / image["file"]) for image in record["images"] or ()],
        }
        for record in kept
    ]


def plots(run: Run) -> list[str]:
    """All that a run gives to draw: scores, a radar of those with a scale, speeds."""
    drawn = (
        plot_scores(run.scores),
        plot_radar([(run.manifest["model"], points_of(run))]),
        plot_speeds(run.records),
    )
    return [plot for plot in drawn if plot]


def mark(row: list[float] | None) -> str:
    """Whether an answer passed its checks; empty where it has none."""
    return "" if row is None else "pass" if row[0] else "fail"


def run_page(run: Run) -> str:
    """The page."""
    from jinja2 import Environment

    suite = find_suite(run.manifest["suite"])
    failed = {score.name for score in run.scores if score.error}
    checks = (u for u in suite.metrics if u.metric == "instruction_following")
    checked = next((u for u in checks if u.name not in failed), None)
    passed = checked.parts(run.records)[0] if checked else {}
    answers = [
        {
            "id": record["id"],
            "asked": record["sample"].get("prompt") or record["sample"].get("text"),
            "output": record["output"],
            "references": record["sample"].get("references") or (),
            "error": record["error"],
            "mark": mark(passed.get(record["id"])),
        }
        for record in run.records
        if record["kind"] in ("text", "translation")
    ]
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        run=run,
        suite=suite,
        header=SCORE_HEADER,
        rows=score_rows(run.scores),
        told=TOLD,
        failures=failures(run.scores),
        plots=plots(run),
        answers=answers,
        drawn=drawn_samples(run),
        num_left_out=max(0, sum(r["kind"] == "image" for r in run.records) - MAX_DRAWN),
    )
