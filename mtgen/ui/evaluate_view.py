"""How the Evaluate tab looks: its tables, samples and plots as HTML, and its rules of style."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtgen.requests import LANGUAGES, ImageRequest, TextRequest, TranslationRequest

if TYPE_CHECKING:
    from evals.metrics import Score
    from evals.reports.board import Board, Entry, Shown
    from evals.reports.tables import Difference, Run

    Request = TextRequest | ImageRequest | TranslationRequest

PAGE = 8
"""Samples that are shown at first, and that "more" adds."""
MAX_PICTURES = 8
"""Of a sample."""
MAX_REQUESTS = 8
"""Buttons of a sample; its events are numbered with it."""

CSS = """
#evaluate-tab table { width: 100%; border-collapse: collapse; font-size: var(--text-sm); }
#evaluate-tab .scroll { overflow-x: auto; }
#evaluate-tab th, #evaluate-tab td {
  text-align: left; padding: 6px 10px 6px 0; border: 0 !important; vertical-align: baseline;
  font-variant-numeric: tabular-nums;
}
#evaluate-tab thead th {
  font-weight: 600; color: var(--body-text-color-subdued); white-space: nowrap;
}
#evaluate-tab tbody tr { border-top: 1px solid var(--border-color-primary); }
#evaluate-tab td.figure, #evaluate-tab td.date { white-space: nowrap; }
#evaluate-tab td small { color: var(--body-text-color-subdued); display: block; }
#evaluate-tab tr[data-number] { cursor: pointer; }
#evaluate-tab tr[data-number]:hover, #evaluate-tab tr.chosen {
  background: color-mix(in srgb, var(--color-accent) 14%, transparent);
}
#evaluate-tab .link {
  background: none; border: 0; padding: 0; font: inherit; color: var(--body-text-color);
  text-align: left; cursor: pointer; text-decoration: underline;
  text-decoration-color: var(--color-accent); text-underline-offset: 3px;
}
#board .link { white-space: nowrap; }
#evaluate-tab .link:focus-visible, #evaluate-tab .open:focus-visible {
  outline: 2px solid var(--color-accent); outline-offset: 2px; border-radius: 3px;
}
#evaluate-tab .better { color: #00734f; font-weight: 600; }
#evaluate-tab .worse { color: #b3261e; font-weight: 600; }
.dark #evaluate-tab .better { color: #2fc79a; }
.dark #evaluate-tab .worse { color: #f2867d; }
.dark { --series-0: #56b4e9; --series-5: #0072b2; }
#evaluate-tab .plot { overflow-x: auto; color: var(--body-text-color); }
#evaluate-tab .plot svg {
  width: 100%; min-width: 320px; max-width: 600px; height: auto; display: block; margin: 0 auto;
}
#evaluate-tab .sample {
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  padding: 10px 14px; margin: 0 0 8px;
}
#evaluate-tab .sample header {
  display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; margin-bottom: 6px;
}
#evaluate-tab .sample header b { font-variant-numeric: tabular-nums; }
#evaluate-tab .sample header span { color: var(--body-text-color-subdued); flex: 1; }
#evaluate-tab .open {
  border: 1px solid var(--border-color-primary); border-radius: 999px; padding: 2px 12px;
  background: var(--button-secondary-background-fill); color: var(--body-text-color);
  font-size: var(--text-sm); cursor: pointer;
}
#evaluate-tab .open:hover { border-color: var(--color-accent); }
#evaluate-tab dl { display: grid; grid-template-columns: 5.5em 1fr; gap: 4px 10px; margin: 0; }
#evaluate-tab dt { color: var(--body-text-color-subdued); font-size: var(--text-sm); }
#evaluate-tab dd {
  margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 12em; overflow: auto;
}
#evaluate-tab .thumbnails { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 8px; }
#evaluate-tab .thumbnails img { width: 96px; height: 96px; border-radius: 6px; object-fit: cover; }
#evaluate-tab h3 { font-size: var(--text-lg); font-weight: 600; margin: 8px 0 0; }
#evaluate-tab .faint { color: var(--body-text-color-subdued); font-size: var(--text-sm); }
#evaluate-tab .problem { color: #b3261e; }
.dark #evaluate-tab .problem { color: #f2867d; }
#evaluate-form, #compare-runs-row { align-items: end; }
@media (max-width: 640px) {
  #evaluate-tab td.unit { white-space: nowrap; }
  #evaluate-tab dl { grid-template-columns: 1fr; gap: 0; }
  #evaluate-tab dd { margin-bottom: 6px; }
}
"""


def escaped(value: object) -> str:
    return html.escape(str(value))


def day(started: str) -> str:
    """`2026-11-28 08:06` of an ISO time."""
    return started[:16].replace("T", " ")


def title(entry: Entry) -> str:
    """A run in a list to choose from."""
    return f"{entry.suite} · {entry.model} · {day(entry.started)} · {entry.name}"


def progress_html(line: str, share: float | None) -> str:
    """A line over a bar; without a bar where no share is given."""
    told = f'<div class="line" role="status" aria-live="polite"><span>{escaped(line)}</span></div>'
    if share is None:
        return told
    percent = round(100 * share)
    return (
        f'{told}<div class="bar" role="progressbar" aria-label="samples done" '
        f'aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width: {percent}%"></div></div>'
    )


def row_html(cells: Sequence[str], number: int, name: str, chosen: bool) -> str:
    """A row that can be clicked; its first cell is a button, for keys and screen readers."""
    kind = ' class="chosen"' if chosen else ""
    button = (
        f'<button type="button" class="link" data-number="{number}" '
        f'aria-pressed="{str(chosen).lower()}" aria-label="{escaped(name)}">{cells[0]}</button>'
    )
    rest = "".join(cells[1:])
    return f'<tr{kind} data-number="{number}"><td>{button}</td>{rest}</tr>'


def table_html(head: Sequence[str], rows: Sequence[str], label: str) -> str:
    line = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    return (
        f'<div class="scroll"><table aria-label="{label}"><thead><tr>{line}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def board_html(board: Board, chosen: str | None, note: str) -> str:
    """The leaderboard, newest first, with what could not be read in one line below."""
    rows = [
        row_html(
            [escaped(e.suite), *entry_cells(e)], number, f"show run {e.name}", e.name == chosen
        )
        for number, e in enumerate(board.entries)
    ]
    head = ["Suite", "Model", "Score", "95% interval", "n", "Date (UTC)"]
    parts = [table_html(head, rows, "runs, newest first")] if rows else []
    if not rows:
        parts.append('<p class="faint">No runs yet: choose a suite above and press Run.</p>')
    if board.damaged:
        told = escaped("; ".join(board.damaged))
        parts.append(f'<p class="faint" id="damaged">Cannot be read, left out: {told}</p>')
    if note:
        parts.append(f'<p class="faint" id="runs-note">{escaped(note)}.</p>')
    return "".join(parts)


def entry_cells(entry: Entry) -> list[str]:
    from evals.reports.tables import interval, number

    score = entry.main
    note = f"<small>{escaped(entry.note)}</small>" if entry.note else ""
    partial = "" if entry.is_complete else f"{entry.num_done} of {entry.num_samples} samples done"
    figure, name = ("–", "") if score is None else (number(score.value), score.name)
    return [
        f"<td>{escaped(entry.model)}</td>",
        f'<td class="figure"><b>{figure}</b><small>{escaped(name)}</small>{note}</td>',
        f'<td class="figure">{interval(score.ci95) if score else "–"}</td>',
        f'<td class="figure">{score.n_scored if score else 0}<small>{partial}</small></td>',
        f'<td class="date">{escaped(day(entry.started))}</td>',
    ]


def run_head_html(run: Run, entry: Entry) -> str:
    """What the chosen run is."""
    manifest = run.manifest
    limit = "all samples" if manifest.get("limit") is None else f"first {manifest['limit']} each"
    if drawn := manifest.get("drawn"):
        limit = f"{drawn} samples drawn" if manifest.get("limit") is None else limit
    facts = [
        manifest["model"], limit, f"seed {manifest.get('seed')}",
        f"mtgen {manifest.get('mtgen', 'of an unknown version')}", day(entry.started),
    ]  # fmt: skip
    partial = ""
    if not run.is_complete:
        partial = (
            f'<p class="faint">Partial: {len(run.records)} of {manifest["num_samples"]} samples '
            "are done; the same choice above goes on with it.</p>"
        )
    line = " · ".join(map(escaped, facts))
    return f'<h3>{escaped(manifest["suite"])}</h3><p class="faint">{line}</p>{partial}'


def scores_html(scores: Sequence[Score], chosen: str | None) -> str:
    """The scores of a run; a click shows the samples of one."""
    from evals.reports.tables import interval, number

    rows = []
    for place, score in enumerate(scores):
        better = "higher" if score.higher_is_better else "lower"
        better = "" if "ideal" in score.unit else f", {better} is better"
        unscored = f"<small>{score.n_unscored} unscored</small>" if score.n_unscored else ""
        cells = [
            escaped(score.name),
            f'<td class="figure"><b>{number(score.value)}</b></td>',
            f'<td class="figure">{interval(score.ci95)}</td>',
            f'<td class="unit">{escaped(score.unit)}{better}</td>',
            f'<td class="figure">{score.n_scored}{unscored}</td>',
        ]
        name = f"show the samples of {score.name}"
        rows.append(row_html(cells, place, name, score.name == chosen))
    return table_html(["Score", "Value", "95% interval", "Unit", "n"], rows, "scores of the run")


def plots_html(plots: Sequence[str | None]) -> str:
    return "".join(f'<div class="plot">{plot}</div>' for plot in plots if plot)


def samples_html(
    samples: Sequence[Shown], requests: Sequence[Sequence[Request]], num_all: int
) -> str:
    """Samples with their answers.

    Args:
        samples: Those that are shown.
        requests: Of each, what its buttons put into a tab.
        num_all: How many there are.
    """
    parts = [
        sample_html(sample, asked, number * MAX_REQUESTS)
        for number, (sample, asked) in enumerate(zip(samples, requests, strict=True))
    ]
    return "".join(parts) + f'<p class="faint">{len(samples)} of {num_all} samples are shown.</p>'


def sample_html(sample: Shown, requests: Sequence[Request], number: int) -> str:
    from evals.reports.page import thumbnail
    from evals.reports.tables import number as figure
    from mtgen.errors import RecordsError

    buttons = "".join(
        f'<button type="button" class="open" data-number="{number + place}" '
        f'aria-label="open {escaped(sample.id)} in the {tab_of(request)} tab">'
        f"Open in {tab_of(request)}{language_of(sample, place)}</button>"
        for place, request in enumerate(requests[:MAX_REQUESTS])
    )
    told = [("Asked", sample.asked), ("Output", sample.output), ("Expected", sample.expected)]
    if sample.error:
        told[1] = ("Not answered", sample.error)
    rows = "".join(
        f"<dt>{name}</dt><dd>{escaped(text)}</dd>" for name, text in told if text is not None
        and (text or name == "Output")
    )  # fmt: skip
    pictures = []
    for path in sample.pictures[:MAX_PICTURES]:
        try:
            pictures.append(f'<img src="{thumbnail(path)}" alt="{escaped(sample.asked)}">')
        except RecordsError:
            pictures.append(f'<span class="faint">{escaped(path.name)} is missing</span>')
    shown = f'<div class="thumbnails">{"".join(pictures)}</div>' if pictures else ""
    return (
        f'<article class="sample"><header><b>{figure(sample.value)}</b>'
        f"<span>{escaped(sample.id)}</span>{buttons}</header><dl>{rows}</dl>{shown}</article>"
    )


def tab_of(request: Request) -> str:
    """Name of the tab that makes what a request asks for."""
    kinds = {TextRequest: "Text", TranslationRequest: "Translate", ImageRequest: "Image"}
    return kinds[type(request)]


def language_of(sample: Shown, place: int) -> str:
    """`, French` where a sample's pictures are of several languages."""
    langs = list(sample.record["sample"].get("prompts") or ())
    return f", {LANGUAGES.get(langs[place], langs[place])}" if len(langs) > 1 else ""


def differences_html(a: Entry, b: Entry, differences: Sequence[Difference]) -> str:
    """Paired differences with the verdict in words."""
    from evals.reports.tables import interval, number

    kinds = {"better": "better", "worse": "worse"}
    rows = []
    for d in differences:
        cells = [
            number(d.a), number(d.b), f"<b>{number(d.difference)}</b>", interval(d.ci95), str(d.n)
        ]  # fmt: skip
        figures = "".join(f'<td class="figure">{cell}</td>' for cell in cells)
        verdict = f'<td class="{kinds.get(d.verdict, "")}">{d.verdict}</td>'
        rows.append(f"<tr><td>{escaped(d.name)}</td>{figures}{verdict}</tr>")
    head = ["Score", "A", "B", "B − A", "95% interval", "n", "B is"]
    names = "".join(
        f'<p class="faint">{letter}: {escaped(title(entry))}</p>'
        for letter, entry in (("A", a), ("B", b))
    )
    return names + table_html(head, rows, "paired differences of two runs")


def complaint_html(message: str) -> str:
    return f'<p class="problem" role="alert">{escaped(message)}</p>'


def suites_html(refused: Sequence[tuple[str, str]]) -> str:
    """Suites that cannot be run here, each with the reason."""
    items = "".join(f"<li><b>{escaped(name)}</b>: {escaped(why)}</li>" for name, why in refused)
    return f'<ul class="faint">{items}</ul>'
