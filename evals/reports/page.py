"""One self-contained HTML page for a run: nothing in it is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from evals.metrics.stats import Score
from evals.reports.tables import SCORE_HEADER, TOLD, Run, failures, score_rows
from evals.suites import find_suite

THUMBNAIL_PX = 96
MAX_DRAWN = 80
"""Prompts whose pictures are shown: a page of about 1 MB."""
TEMPLATE = Path(__file__).parent / "page.html"


def plot_shares(scores: list[Score]) -> str | None:
    """Scores between 0 and 1 with their intervals, as inline SVG; None where there are none."""
    shares = [s for s in scores if s.unit.startswith("share") and s.value is not None]
    if not shares:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.5 + 0.45 * len(shares)))
    axes = figure.subplots()
    for row, score in enumerate(reversed(shares)):
        if score.ci95:
            axes.plot(score.ci95, [row, row], color="#0d9488", linewidth=5, alpha=0.35)
        axes.plot([score.value or 0.0], [row], "o", color="#0d9488")
    axes.set_yticks(range(len(shares)), [s.name for s in reversed(shares)])
    axes.set_ylim(-0.6, len(shares) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return _svg(figure)


def plot_speeds(run: Run) -> str | None:
    """Tokens per second of each answer, as inline SVG; None where none was timed."""
    speeds = [r["tokens_per_s"] for r in run.records if r.get("tokens_per_s")]
    if not speeds:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2))
    axes = figure.subplots()
    axes.hist(speeds, bins=20, color="#0d9488", alpha=0.8)
    axes.set_xlabel("tokens per second, after the first")
    axes.set_ylabel("answers")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _svg(figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    # text stays text; a fixed salt and no date make the same records give the same page
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mtgen"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    markup = buffer.getvalue()
    return markup[markup.index("<svg") :]


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
        plots=[plot for plot in (plot_shares(run.scores), plot_speeds(run)) if plot],
        answers=answers,
        drawn=drawn_samples(run),
        num_left_out=max(0, sum(r["kind"] == "image" for r in run.records) - MAX_DRAWN),
    )
