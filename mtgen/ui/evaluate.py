"""The Evaluate tab: runs of suites, their scores with intervals, samples, comparisons, exports.

Endpoints: /runs and /scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr
from gradio.events import api

from mtgen.errors import MtgenError
from mtgen.requests import TextRequest, TranslationRequest
from mtgen.ui import image_form, text, translate_form
from mtgen.ui.evaluate_export import exported
from mtgen.ui.evaluate_run import OWN, Choice, Evaluations, Results, others_allowed, results
from mtgen.ui.evaluate_view import (
    MAX_REQUESTS,
    PAGE,
    board_html,
    complaint_html,
    differences_html,
    plots_html,
    progress_html,
    run_head_html,
    samples_html,
    scores_html,
    suites_html,
    title,
)
from mtgen.ui.image_form import offered_styles, parse_seed
from mtgen.ui.model import SharedModel
from mtgen.ui.translate_view import CLICKS
from mtgen.ui.turns import PARALLEL, complaint, explained, listen

if TYPE_CHECKING:
    from evals.reports.board import Board, Entry, Request, Shown
    from evals.reports.tables import Run

ABOUT = """
How good is this model? Choose a suite and run it here, or look at runs that were made before. Each
number has its 95% interval over samples, and a click shows the samples behind it.
"""
WORST, BEST = "worst first", "best first"
DEFAULT = "smoke"


class Others(NamedTuple):
    """Tabs that samples are opened in."""

    tabs: gr.Tabs
    texts: text.Form
    translations: tuple[translate_form.Form, gr.State]
    pictures: tuple[image_form.Form, gr.State]


def suite_choices() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Suites that can be run, as label and name; the others, each with the reason."""
    from evals.suites import SUITES

    ready, refused = [], []
    for suite in SUITES.values():
        try:
            suite.check_ready()
            minutes = f"{suite.minutes:g} min"
            ready.append((f"{suite.name} · {minutes} · {suite.aspect}", suite.name))
        except MtgenError as error:
            refused.append((suite.name, str(error)))
    return ready, refused


def parse_limit(typed: str | None) -> int | None:
    """A number of samples from its box; None where it is empty.

    Raises:
        gr.Error: it is no whole number.
    """
    typed = (typed or "").strip()
    if not typed or typed == "all":
        return None
    try:
        return int(typed)
    except ValueError:
        raise complaint(
            f"samples must be a whole number from 1, got {typed[:40]!r}; empty takes all"
        ) from None


def build_tab(model: SharedModel, page: gr.Blocks, tab: gr.Tab, others: Others) -> None:
    """Adds the tab's components and events to the page under construction."""
    evaluations = Evaluations()
    styles = offered_styles(model.weights)
    bare: dict[str, Any] = {"elem_classes": "bare", "apply_default_css": False}
    clicked: dict[str, Any] = {**bare, "js_on_load": CLICKS}
    run_name, score_name = gr.State(None), gr.State(None)
    num_shown = gr.State(PAGE)
    turn_number, showing = gr.State(0), gr.State(0)  # each change takes a turn, or shows a run

    gr.Markdown(ABOUT)
    with gr.Row(elem_id="evaluate-form"):
        suite = gr.Dropdown(
            [(DEFAULT, DEFAULT)], value=DEFAULT, label="Suite", scale=4, min_width=260,
            elem_id="suite", info="with minutes on two CPU cores",
        )  # fmt: skip
        named = gr.Textbox(
            OWN, label="Model", scale=3, min_width=200, max_lines=1, elem_id="eval-model",
            interactive=others_allowed(),
            info="or a folder, Hub id, endpoint, trio" if others_allowed() else "this page's own",
        )  # fmt: skip
        limit = gr.Textbox(
            "", label="Samples", placeholder="all", scale=1, min_width=120, max_lines=1,
            elem_id="eval-limit", info="of each kind",
        )  # fmt: skip
        seed = gr.Textbox(
            "0", label="Seed", scale=1, min_width=100, max_lines=1, elem_id="eval-seed",
            info="of the run",
        )  # fmt: skip
    with gr.Row():
        go = gr.Button("Run", variant="primary", min_width=110, elem_id="eval-run", scale=0)
        stop = gr.Button(
            "Stop", visible=False, min_width=110, elem_id="eval-stop", scale=0,
            elem_classes=["stop-button", "danger"],
        )  # fmt: skip
        with gr.Column(scale=4, min_width=240):
            state_line = gr.HTML(progress_html("", None), elem_id="eval-status", **bare)
    with gr.Accordion("Suites that cannot run here", open=False, visible=False) as lacking:
        refused_suites = gr.HTML(**bare)
    gr.Markdown("### Runs")
    leaderboard = gr.HTML(elem_id="board", **clicked)
    with gr.Column(visible=False, elem_id="run-panel") as panel:
        head = gr.HTML(elem_id="run-head", **bare)
        scores = gr.HTML(elem_id="scores", **clicked)
        plots = gr.HTML(elem_id="plots", **bare)
        with gr.Row():
            save_page, save_csv, save_markdown = (
                gr.DownloadButton(
                    f"Download {kind}", size="sm", min_width=130, elem_id=f"save-{ending}"
                )
                for kind, ending in (("HTML", "html"), ("CSV", "csv"), ("Markdown", "md"))
            )  # fmt: skip
        with gr.Column(visible=False, elem_id="samples-panel") as samples_panel:
            samples_head = gr.Markdown()
            order = gr.Radio(
                [WORST, BEST], value=WORST, label="Order", container=False, elem_classes="chips",
                elem_id="samples-order",
            )  # fmt: skip
            samples = gr.HTML(elem_id="samples", **clicked)
            more = gr.Button("Show more", size="sm", min_width=120, elem_id="more-samples")
    with gr.Accordion("Compare two runs", open=False, elem_id="compare-runs"):
        with gr.Row(elem_id="compare-runs-row"):
            run_a = gr.Dropdown([], label="A", min_width=240, elem_id="run-a")
            run_b = gr.Dropdown([], label="B", min_width=240, elem_id="run-b")
            compare_go = gr.Button("Compare", min_width=110, scale=0, elem_id="compare-go")
        differences = gr.HTML(elem_id="differences", **bare)
    with gr.Accordion("Models side by side", open=False, elem_id="aspects"):
        models = gr.Dropdown(
            [], multiselect=True, label="Models", elem_id="aspect-models", max_choices=6,
            info="the first score of each suite that has a scale; outside is best",
        )  # fmt: skip
        radar = gr.HTML(elem_id="radar", **bare)

    @cache
    def place() -> Results:
        return results()

    def read() -> Board:
        from evals.reports.board import read_board

        return read_board(place().roots)

    def found(name: str | None) -> tuple[Entry, Run]:
        """A run on the board with its scores, or the complaint."""
        from evals.reports.board import read_scored

        try:
            entry = read().find(name or "")
            return entry, read_scored(entry.folder)
        except Exception as error:
            raise explained(error) from None

    listed = [leaderboard, run_a, run_b, models]

    def lists(chosen: str | None, a: str | None, b: str | None, picked: list[str] | None) -> tuple:
        """The leaderboard, and what can be chosen of it."""
        from evals.reports.board import models_of

        try:
            board = read()
        except Exception as error:
            return complaint_html(explained(error).message), gr.skip(), gr.skip(), gr.skip()
        names = {entry.name for entry in board.entries}
        choices = [(title(entry), entry.name) for entry in board.entries]
        known = models_of(board)
        kept = [name for name in picked or [] if name in known]
        return (
            board_html(board, chosen, place().note),
            gr.Dropdown(choices, value=a if a in names else None),
            gr.Dropdown(choices, value=b if b in names else None),
            gr.Dropdown(known, value=kept),
        )

    def enter(chosen: str | None, *picked: Any) -> tuple:
        """What the tab shows when it is opened."""
        ready, refused = suite_choices()
        return (
            gr.Dropdown(ready), suites_html(refused),
            gr.Accordion(f"Suites that cannot run here ({len(refused)})", visible=bool(refused)),
            *lists(chosen, *picked),
        )  # fmt: skip

    records: dict[str, Any] = {
        "concurrency_id": "records", "concurrency_limit": 1, "show_progress": "hidden",
        "api_visibility": "private",
    }  # fmt: skip
    picks = [run_name, run_a, run_b, models]
    tab.select(enter, picks, [suite, refused_suites, lacking, *listed], **records)

    # --- running

    def running(is_running: bool) -> tuple:
        return gr.Button(visible=not is_running), gr.Button(visible=is_running)

    def begin(
        name: str, other: str, typed_limit: str, typed_seed: str, request: gr.Request
    ) -> tuple:
        """Registers the run at once, and turns Run into Stop, before it waits for its turn."""
        try:
            choice = Choice(
                suite=name, model=(other or "").strip() or OWN, limit=parse_limit(typed_limit),
                seed=parse_seed(typed_seed) or 0,
            )  # fmt: skip
            evaluations.begin(request.session_hash, choice, place().roots[0])
        except MtgenError as error:
            raise complaint(error) from None
        return *running(True), progress_html("Waiting for a turn…", 0.0)

    def take_turn(request: gr.Request) -> Iterator[str]:
        """A turn of the run; then others have theirs."""
        evaluation = evaluations.current(request.session_hash)
        if evaluation is None or evaluation.over:
            yield gr.skip()  # type: ignore[misc]
            return
        for _ in evaluation.turn(model):
            share = evaluation.done / evaluation.total if evaluation.total else 0.0
            yield progress_html(evaluation.line, share)

    def after_turn(number: int, shown: int, chosen: str | None, request: gr.Request) -> tuple:
        """Lines up again, or ends the run and shows it."""
        session = request.session_hash
        evaluation = evaluations.current(session)
        if evaluation is not None and not evaluation.over:
            return number + 1, *(gr.skip(),) * 5
        evaluations.end(session)
        if evaluation is None:
            return gr.skip(), *running(False), *(gr.skip(),) * 3
        told = f"{evaluation.done} of {evaluation.total} samples are done and kept"
        if evaluation.error is not None:
            failure = evaluation.error
            message = (failure if isinstance(failure, gr.Error) else explained(failure)).message
            gr.Warning(message, title="The run ended early")
            kept = f" · {told}; the same choice goes on" if evaluation.done else ""
            line = complaint_html(message + kept)
        elif evaluation.finished:
            line = progress_html(f"finished: {told}", None)
        else:
            told = told if evaluation.total else "nothing is done yet"
            line = progress_html(f"stopped: {told}; the same choice goes on", None)
        name = chosen
        if evaluation.folder is not None and evaluation.done:
            name = evaluation.folder.relative_to(evaluation.root).as_posix()
        return gr.skip(), *running(False), line, name, shown + 1

    def refuse(request: gr.Request) -> tuple:
        """The queue is full."""
        evaluations.end(request.session_hash)
        line = "too many visitors are waiting; try again, the same choice goes on"
        return *running(False), complaint_html(line)

    def after_begin(begun: Any) -> None:
        taken = begun.success(
            take_turn, [], [state_line], show_progress="hidden", concurrency_limit=PARALLEL,
            concurrency_id="model", api_visibility="private",
        )  # fmt: skip
        listen(
            taken.success, after_turn, [turn_number, showing, run_name],
            [turn_number, go, stop, state_line, run_name, showing],
        )  # fmt: skip
        listen(taken.failure, refuse, [], [go, stop, state_line])

    chosen_suite = [suite, named, limit, seed]
    for trigger in (go.click, named.submit, limit.submit, seed.submit):
        after_begin(listen(trigger, begin, chosen_suite, [go, stop, state_line]))
    after_begin(listen(turn_number.change, lambda: None, [], []))

    def stop_run(request: gr.Request) -> str:
        evaluations.stop(request.session_hash)
        return progress_html("Stopping…", None)

    def forget_run(request: gr.Request) -> None:
        evaluations.end(request.session_hash)

    listen(stop.click, stop_run, [], [state_line], queue=False)
    page.unload(forget_run)

    # --- a run and its samples

    def choose(shown: int, data: gr.EventData) -> tuple[str, int]:
        board = read()
        if not 0 <= data.number < len(board.entries):
            raise complaint("that run is no longer there; open the tab again")
        return board.entries[data.number].name, shown + 1

    leaderboard.click(choose, [showing], [run_name, showing], **records)

    shown_run = [panel, head, scores, plots, score_name, samples_panel]

    def show_run(name: str | None) -> tuple:
        """Scores and plots of the chosen run."""
        if not name:
            return gr.Column(visible=False), *(gr.skip(),) * 5
        try:
            entry, run = found(name)
        except gr.Error as error:
            told = complaint_html(error.message)
            return gr.Column(visible=True), told, "", "", None, gr.Column(visible=False)
        from evals.reports.page import plots as plots_of

        return (
            gr.Column(visible=True), run_head_html(run, entry), scores_html(run.scores, None),
            plots_html(plots_of(run)), None, gr.Column(visible=False),
        )  # fmt: skip

    saves = [save_page, save_csv, save_markdown]
    folder = Path(save_page.GRADIO_CACHE) / "mtgen"

    def offer(name: str | None) -> tuple:
        """Files of the chosen run to save."""
        if not name:
            return (None,) * len(saves)
        try:
            return tuple(map(str, exported(found(name)[1], name, folder)))
        except Exception as error:
            gr.Warning(explained(error).message, title="Nothing to save")
            return (None,) * len(saves)

    changed = showing.change(show_run, [run_name], shown_run, **records)
    changed.then(lists, picks, listed, **records)
    changed.then(offer, [run_name], saves, **records)

    def samples_for(
        name: str | None, score: str | None, order: str, count: int
    ) -> tuple[list[Shown], int, list[list[Request]]]:
        """Samples that are shown, how many there are, and what their buttons open."""
        from evals.reports.board import requests_of, samples_of, use_of

        _, run = found(name)
        everything = samples_of(run, use_of(run, score or ""), best_first=order == BEST)
        shown, asked = everything[:count], []
        for sample in shown:
            try:
                asked.append(requests_of(run, sample.record)[:MAX_REQUESTS])
            except (MtgenError, TypeError, KeyError):  # of another version
                asked.append([])
        return shown, len(everything), asked

    shown_samples = [samples_panel, samples_head, samples, more]

    def show_samples(name: str | None, score: str | None, order: str, count: int) -> tuple:
        if not score:
            return gr.Column(visible=False), *(gr.skip(),) * 3
        try:
            shown, num_all, asked = samples_for(name, score, order, count)
            view = samples_html(shown, asked, num_all)
        except Exception as error:
            told = error if isinstance(error, gr.Error) else explained(error)
            view, shown, num_all = complaint_html(told.message), [], 0
        has_more = len(shown) < num_all
        return (
            gr.Column(visible=True),
            f"#### Samples of {score}",
            view,
            gr.Button(visible=has_more),
        )

    def choose_score(name: str | None, data: gr.EventData) -> tuple:
        _, run = found(name)
        if not 0 <= data.number < len(run.scores):
            raise complaint("that score is no longer there; choose the run again")
        score = run.scores[data.number].name
        return score, PAGE, scores_html(run.scores, score)

    asked_samples = [run_name, score_name, order, num_shown]
    chose = scores.click(choose_score, [run_name], [score_name, num_shown, scores], **records)
    chose.success(show_samples, asked_samples, shown_samples, **records)
    order.input(show_samples, asked_samples, shown_samples, **records)
    more.click(lambda count: count + PAGE, [num_shown], [num_shown], **records).success(
        show_samples, asked_samples, shown_samples, **records
    )

    # --- samples in other tabs

    translations, opened_translation = others.translations
    pictures, opened_picture = others.pictures
    filled = [
        others.tabs, *others.texts, *translations, opened_translation, *pictures, opened_picture,
    ]  # fmt: skip
    num_of_each = len(others.texts), len(translations) + 1, len(pictures) + 1

    def open_sample(
        name: str | None, score: str | None, order: str, count: int, data: gr.EventData
    ) -> tuple:
        """Puts what a sample asked into the tab that asks it."""
        _, _, asked = samples_for(name, score, order, count)
        number, place_in = divmod(data.number, MAX_REQUESTS)
        if not (0 <= number < len(asked) and place_in < len(asked[number])):
            raise complaint("that sample is no longer there; choose the score again")
        request = asked[number][place_in]
        entry, _ = found(name)
        parts: list[tuple] = [(gr.skip(),) * num for num in num_of_each]
        if isinstance(request, TextRequest):
            tab_name, parts[0] = "Text", text.Form.filled(request)
        elif isinstance(request, TranslationRequest):
            tab_name = "Translate"
            parts[1] = (*translate_form.Form.asking(request), request)
        else:
            tab_name = "Image"
            parts[2] = (*image_form.Form.asking(request, styles), request)
        if model.ready and not entry.model.startswith(model.pipeline().model):
            gr.Warning(
                f"the run is of {entry.model}, and the {tab_name} tab asks "
                f"{model.pipeline().model}: it will not say the same"
            )
        return gr.Tabs(selected=tab_name), *(value for part in parts for value in part)

    samples.click(open_sample, asked_samples, filled, **records)

    # --- comparisons

    def compare_runs(a: str | None, b: str | None) -> str:
        from evals.reports.board import points_of
        from evals.reports.plots import plot_radar
        from evals.reports.tables import compare

        try:
            if not a or not b:
                raise complaint("choose two runs of the same suite to compare")
            (entry_a, run_a), (entry_b, run_b) = found(a), found(b)
            table = differences_html(entry_a, entry_b, compare(run_a, run_b))
            series = [
                (f"{letter}: {title(entry)}", points_of(run))
                for letter, entry, run in (("A", entry_a, run_a), ("B", entry_b, run_b))
            ]
            return table + plots_html([plot_radar(series)])
        except Exception as error:
            told = error if isinstance(error, gr.Error) else explained(error)
            return complaint_html(told.message)

    compare_go.click(compare_runs, [run_a, run_b], [differences], **records)

    def draw_radar(picked: list[str]) -> str:
        from evals.reports.board import aspects_of
        from evals.reports.plots import MIN_AXES, plot_radar

        if not picked:
            return ""
        board = read()
        series = [(name, aspects_of(board, name)) for name in picked]
        plot = plot_radar(series)
        if plot is None:
            num = len({point.axis for _, points in series for point in points})
            return complaint_html(
                f"a radar needs whole runs of {MIN_AXES} suites whose first score has a scale, and "
                f"there {'is' if num == 1 else 'are'} {num}; run more suites"
            )
        return plots_html([plot])

    models.input(draw_radar, [models], [radar], **records)

    # --- endpoints

    def answered(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            raise (error if isinstance(error, gr.Error) else explained(error)) from None

    def runs() -> dict[str, Any]:
        """Lists the runs of suites that this page holds, newest first.

        Returns:
            "runs": each with its "run" (its name), "suite", "model", "started" (UTC), how many
            samples are done of how many, and its first "score" with its 95% interval; "damaged":
            what could not be read, and why.
        """
        board = answered(read)
        return {
            "runs": [entry.as_dict() for entry in board.entries], "damaged": list(board.damaged)
        }  # fmt: skip

    def scores_endpoint(run: str) -> dict[str, Any]:
        """Gives all scores of a run.

        Args:
            run: Its name, as /runs lists it.

        Returns:
            What was run ("suite", "model", "seed", "limit", "settings", hashes, version) and its
            "scores", each with "value", "ci95", how many samples were scored, "unit", whether
            higher is better, and a "signature" to reproduce it.
        """
        _, result = found(run)
        return {**result.manifest, "scores": [score.as_dict() for score in result.scores]}

    counted = {"concurrency_limit": 1, "concurrency_id": "records"}
    api(runs, api_name="runs", **counted)
    api(scores_endpoint, api_name="scores", **counted)
