"""The Image tab: pictures that can be drawn again from their own files, and the /image endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.events import api
from gradio.processing_utils import move_files_to_cache

from mtgen.requests import (
    IMAGE_SIZES,
    MAX_GUIDANCE,
    MAX_IMAGES,
    MAX_STEPS,
    MAX_TEMPERATURE,
    ImageRequest,
)
from mtgen.ui.image_form import (
    ANY,
    Form,
    asked,
    compared,
    offered_styles,
    settings_html,
    settings_of_file,
    sheet_fields,
)
from mtgen.ui.known import known_things, search
from mtgen.ui.model import SharedModel
from mtgen.ui.pictures import MAX_ROWS, Drawn, Progress, draw, draw_sheet, preview_html
from mtgen.ui.score_this import picture_line
from mtgen.ui.turns import AS_MEASURED, PARALLEL, Turns, complaint, explained, listen

BUSY = "the last picture is still being drawn; stop it first, with the Stop button or Esc"
STOPPED_EARLY = "stopped before it began"
MAX_HISTORY = 24
"""Pictures that a visitor's session remembers."""

EXAMPLES = [
    "three red apples",
    "a fire engine on a yellow background",
    "deux chats noirs",
    "une tasse de café",
    "ein grüner Apfel",
    "vier gelbe Sterne auf blauem Hintergrund",
    "un pez azul",
    "un diamante, imagen 3D",
]

KNOWN = f"""
The model has seen {len(known_things()):,} things in the styles above: alone, up to six of them, in
a colour. Two different things in one picture are mostly beyond it so far. Everyday things come
first, and it knows them best; faces, gestures, flags and signs are at the end. **Any other prompt
draws something too**, most often the nearest thing that it knows. A click adds a word to the
prompt.
"""

DEFAULTS = ImageRequest(prompt="-")


def build_tab(model: SharedModel, page: gr.Blocks) -> tuple[Form, gr.State]:
    """Adds the tab's components and events to the page under construction.

    Returns:
        The form, and the state for a request of the evals that was put into it.
    """
    turns = Turns(BUSY)
    opened = gr.State(None)  # asked again, it has the marks of evals
    styles = offered_styles(model.weights)
    history = gr.State([])  # paths of PNG files, newest first; they carry their settings
    last_seed = gr.State(None)
    dropped = gr.State(None)  # path of the picture whose settings are shown

    prompt = gr.Textbox(
        elem_id="picture-prompt",
        elem_classes="prompt",
        show_label=False,
        placeholder="A red car to the left of two trees · Enter draws, Esc stops",
        lines=1,
        max_lines=4,
        submit_btn="Draw",
    )
    state_line = gr.Markdown("", elem_id="picture-status", elem_classes="status")
    with gr.Row(elem_id="picture-row"):
        with gr.Column(scale=6, min_width=320):
            canvas = gr.HTML(visible=False, elem_id="canvas")
            pictures = gr.Gallery(
                elem_id="pictures", show_label=False, columns=2, height="auto",
                object_fit="contain", buttons=["download", "fullscreen"], interactive=False,
            )  # fmt: skip
            with gr.Row(elem_id="saves"):
                saves = [
                    gr.DownloadButton(visible=False, size="sm", min_width=120)
                    for _ in range(MAX_IMAGES)
                ]
            score = gr.Button("Score", size="sm", min_width=80, elem_id="score-picture")
            examples = gr.Dataset(
                components=["textbox"], samples=[[text] for text in EXAMPLES], show_label=False,
                elem_id="picture-examples", samples_per_page=len(EXAMPLES),
            )  # fmt: skip
        with gr.Column(scale=5, min_width=320):
            style = gr.Radio(
                [(name, key) for key, name in styles.items()], value=ANY, label="Style",
                elem_classes="chips",
            )  # fmt: skip
            with gr.Row():
                num_images = gr.Radio(
                    list(range(1, MAX_IMAGES + 1)), value=DEFAULTS.num_images, label="Pictures",
                    elem_classes="chips", min_width=170,
                )  # fmt: skip
                size = gr.Radio(
                    [(f"{side} px", side) for side in IMAGE_SIZES], value=DEFAULTS.size_px,
                    label="Size", elem_classes="chips", min_width=160,
                )  # fmt: skip
            with gr.Row(elem_id="seed-row"):
                seed = gr.Textbox(  # a number box would show 0 where it is empty
                    label="Seed", placeholder="random", min_width=160, scale=3, max_lines=1,
                    elem_id="picture-seed",
                )  # fmt: skip
                with gr.Column(scale=2, min_width=180), gr.Row():
                    same = gr.Button("Last seed", size="sm", min_width=80, elem_id="same-seed")
                    fresh = gr.Button("Random", size="sm", min_width=80, elem_id="random-seed")
            with gr.Accordion("Settings", open=False, elem_id="picture-settings"):
                negative = gr.Textbox(
                    label="Not this", placeholder="what the picture should not show",
                    max_lines=3, elem_id="negative",
                )  # fmt: skip
                steps = gr.Slider(
                    1, MAX_STEPS, DEFAULTS.num_inference_steps, step=1, label="Steps",
                    info="rounds of drawing; more take longer",
                )  # fmt: skip
                guidance = gr.Slider(
                    0, MAX_GUIDANCE, DEFAULTS.guidance_scale, step=0.1, label="Guidance",
                    info="how closely it follows the prompt",
                )  # fmt: skip
                temperature = gr.Slider(
                    0, MAX_TEMPERATURE, DEFAULTS.temperature, step=0.05, label="Temperature",
                    info="0 always takes the likeliest",
                )  # fmt: skip
    with gr.Accordion("Earlier pictures", open=False, visible=False, elem_id="earlier") as earlier:
        thumbnails = gr.Gallery(
            elem_id="thumbnails", show_label=False, columns=8, fit_columns=False, height="auto",
            allow_preview=False, interactive=False, buttons=[],
        )  # fmt: skip
    with gr.Accordion("Compare seeds and guidance", open=False, elem_id="comparison"):
        gr.Markdown(
            "Draws the prompt above with each of the seeds and guidance values, as one sheet. "
            "The first seed is the one above, if there is one."
        )
        with gr.Row(elem_id="compare-row"):
            num_seeds = gr.Slider(1, MAX_ROWS, 3, step=1, label="Seeds", min_width=160)
            scales = gr.Textbox("1.5, 3, 6", label="Guidance values", min_width=160)
            compare = gr.Button("Draw the sheet", min_width=140, elem_id="compare")
    with gr.Accordion("Settings from a picture", open=False, elem_id="from-picture"):
        gr.Markdown("Every PNG drawn here carries its settings. Drop one to see and use them.")
        with gr.Row():
            drop = gr.File(
                show_label=False, height=140, elem_id="drop", min_width=240, scale=2
            )  # fmt: skip
            with gr.Column(scale=3, min_width=280, visible=False) as found:
                found_settings = gr.HTML(elem_id="found")
                with gr.Row():
                    use_all = gr.Button("Use all", size="sm", min_width=80, elem_id="use-all")
                    use_seed = gr.Button("Use seed", size="sm", min_width=80, elem_id="use-seed")
    with gr.Accordion("What can it draw?", open=False, elem_id="known"):
        gr.Markdown(KNOWN)
        query = gr.Textbox(
            show_label=False, placeholder="Search: dog, pomme, Schlüssel, árbol", elem_id="query"
        )
        num_found = gr.Markdown("", elem_classes="status")
        words = gr.State([word for _, word in search("")])  # those that a click adds
        things = gr.Dataset(
            components=["textbox"], type="index", show_label=False, elem_id="things",
            samples=[[thing.label] for thing in known_things()], samples_per_page=24,
        )  # fmt: skip

    form = Form(prompt, negative, style, size, steps, guidance, temperature, seed, num_images)
    folder = Path(pictures.GRADIO_CACHE) / "mtgen"

    def began(session: str | None, **box: Any) -> tuple:
        """Turns Draw into Stop, at once."""
        turns.begin(session)
        waiting = "" if model.ready else "Loading the model, once…"
        return gr.Textbox(submit_btn=False, stop_btn="Stop", **box), waiting

    def begin_picture(request: gr.Request, *values: Any) -> tuple:
        Form(*values).request()
        return began(request.session_hash)

    def begin_example(request: gr.Request, sample: list[str], *values: Any) -> tuple:
        Form(*values)._replace(prompt=sample[0]).request()
        return began(request.session_hash, value=sample[0])

    def begin_sheet(request: gr.Request, rows: float, columns: str, *values: Any) -> tuple:
        compared(Form(*values).request(), rows, columns)
        return began(request.session_hash)

    def view(files: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Updates that put pictures on view, each with its own button to download it."""
        parts: dict[str, Any] = {
            "canvas": gr.HTML("", visible=False),
            "pictures": gr.Gallery(list(files), visible=True),
        }
        for number in range(MAX_IMAGES):
            if number < len(files):
                path, caption = files[number]
                label = "Download PNG" if len(files) == 1 else f"PNG {caption}"
                parts[f"save{number}"] = gr.DownloadButton(label, value=path, visible=True)
            else:
                parts[f"save{number}"] = gr.DownloadButton(visible=False)
        return parts

    shown = {
        "canvas": canvas, "pictures": pictures, "history": history, "thumbnails": thumbnails,
        "earlier": earlier, "last_seed": last_seed, "line": state_line,
        **{f"save{number}": button for number, button in enumerate(saves)},
    }  # fmt: skip

    def update(**parts: Any) -> tuple:
        """Updates of what a drawing shows; parts that are not named stay as they are."""
        return tuple(parts.get(name, gr.skip()) for name in shown)

    def updates(work: Iterator[Progress | Drawn], paths: list[str]) -> Iterator[tuple]:
        """Previews on the canvas, which give way to the pictures and join the history."""
        try:
            for state in work:
                if isinstance(state, Progress):
                    yield update(
                        canvas=gr.HTML(preview_html(state), visible=True),
                        pictures=gr.Gallery(visible=False),
                        **{f"save{i}": gr.DownloadButton(visible=False) for i in range(MAX_IMAGES)},
                        line=state.line,
                    )
                elif not state.files:
                    yield update(line=STOPPED_EARLY)
                else:
                    paths = [*(path for path, _ in state.files), *paths][:MAX_HISTORY]
                    yield update(
                        **view(state.files),
                        history=paths,
                        thumbnails=paths,
                        earlier=gr.Accordion(visible=True),
                        last_seed=state.seed,
                        line=state.line,
                    )
        except Exception as error:  # raised, it would cover the pictures with one word
            told = error if isinstance(error, gr.Error) else explained(error)
            gr.Warning(told.message, title="Not drawn")
            yield update(line=told.message)

    def responder(work: Callable[..., Iterator[Progress | Drawn]]) -> Callable[..., Any]:
        """An event's function: `work` of the values, for the turn that has begun."""

        def respond(request: gr.Request, paths: list[str], *values: Any) -> Iterator[tuple]:
            turn = turns.current(request.session_hash)
            if turn is None or turn.stop.is_set():
                yield update(line=STOPPED_EARLY)
            else:
                yield from updates(work(turn.stop, *values), paths)

        return respond

    @responder
    def draw_form(
        stop: Event, opened: ImageRequest | None, *values: Any
    ) -> Iterator[Progress | Drawn]:
        request = Form(*values).request()
        if request != opened:
            yield from draw(model, request, folder, stop)
            return
        for state in draw(model.measured, request, folder, stop):
            is_drawn = isinstance(state, Drawn)
            yield replace(state, line=state.line + AS_MEASURED) if is_drawn else state

    @responder
    def draw_comparison(
        stop: Event, rows: float, columns: str, *values: Any
    ) -> Iterator[Progress | Drawn]:
        comparison = compared(Form(*values).request(), rows, columns)
        yield from draw_sheet(model, comparison, folder, stop)

    def end(request: gr.Request) -> gr.Textbox:
        turns.end(request.session_hash)
        return gr.Textbox(submit_btn="Draw", stop_btn=False)

    def drawn_by(begun: Any, fn: Any, inputs: list) -> None:
        """What follows once a turn has begun."""
        begun.success(
            fn, inputs, [*shown.values()], show_progress="minimal", show_progress_on=state_line,
            concurrency_limit=PARALLEL, concurrency_id="model", api_visibility="private",
        ).then(
            end, [], [prompt], concurrency_limit=None, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip

    begins, extra = [prompt, state_line], [num_seeds, scales]
    begun = listen(prompt.submit, begin_picture, [*form], begins)
    drawn_by(begun, draw_form, [history, opened, *form])
    begun = listen(examples.click, begin_example, [examples, *form], begins)
    drawn_by(begun, draw_form, [history, opened, *form])
    begun = listen(compare.click, begin_sheet, [*extra, *form], begins)
    drawn_by(begun, draw_comparison, [history, *extra, *form])

    def stop_turn(request: gr.Request) -> None:
        turns.stop(request.session_hash)

    def forget_turn(request: gr.Request) -> None:
        turns.end(request.session_hash)

    # past the queue: Stop works however long that is
    listen(prompt.stop, stop_turn, [], [], queue=False)
    page.unload(forget_turn)

    def keep_seed(used: int | None) -> str:
        if used is None:
            raise complaint("no picture has been drawn yet, so there is no seed to keep")
        return str(used)

    listen(same.click, keep_seed, [last_seed], [seed])
    listen(fresh.click, lambda: "", [], [seed])

    def recall(data: gr.SelectData, paths: list[str]) -> tuple:
        """Shows an earlier picture, and restores its settings."""
        path = paths[data.index if isinstance(data.index, int) else data.index[0]]
        settings = settings_of_file(path)
        caption = "" if settings.is_sheet else str(settings.request.seed)
        line = f"earlier picture, seed {settings.request.seed}; its settings are set again"
        return (
            *update(**view([(path, caption)]), line=line),
            *Form.filled(settings, styles),
            *sheet_fields(settings),
        )

    listen(thumbnails.select, recall, [history], [*shown.values(), *form, *extra])

    def inspect(path: str) -> tuple:
        """Shows what a dropped picture was drawn with."""
        return path, settings_html(settings_of_file(path)), gr.Column(visible=True)

    def use_settings(path: str) -> tuple:
        settings = settings_of_file(path)
        return *Form.filled(settings, styles), *sheet_fields(settings)

    listen(drop.upload, inspect, [drop], [dropped, found_settings, found])
    listen(drop.clear, lambda: gr.Column(visible=False), [], [found])
    listen(use_all.click, use_settings, [dropped], [*form, *extra])
    listen(use_seed.click, lambda path: str(settings_of_file(path).request.seed), [dropped], [seed])

    def score_shown(shown: list[tuple[str, str | None]] | None) -> str:
        try:
            return picture_line([path for path, _ in shown or []])
        except Exception as error:
            raise (error if isinstance(error, gr.Error) else explained(error)) from None

    score.click(
        score_shown, [pictures], [state_line], show_progress="minimal",
        show_progress_on=state_line, concurrency_limit=PARALLEL, concurrency_id="model",
        api_visibility="private",
    )  # fmt: skip

    def look_up(text: str) -> tuple:
        hits = search(text)
        count = f"{len(hits)} thing{'s' if len(hits) != 1 else ''}"
        line = count if hits else "Not among them; it draws something all the same."
        words = [word for _, word in hits]
        return words, gr.Dataset(samples=[[thing.label] for thing, _ in hits]), line

    listen(query.change, look_up, [query], [words, things, num_found], trigger_mode="always_last")

    def add_word(text: str, listed: list[str], index: int) -> str:
        return f"{text} {listed[index]}".strip()

    listen(things.click, add_word, [prompt, words, things], [prompt])

    def image_endpoint(
        prompt: str,
        negative_prompt: str = DEFAULTS.negative_prompt,
        style: str | None = None,
        size_px: int = DEFAULTS.size_px,
        num_inference_steps: int = DEFAULTS.num_inference_steps,
        guidance_scale: float = DEFAULTS.guidance_scale,
        temperature: float = DEFAULTS.temperature,
        num_images: int = DEFAULTS.num_images,
        seed: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Draws a prompt with the shared model, as PNG files that carry their settings.

        Args:
            prompt: What to draw, in English, French, German or Spanish; up to 500 characters.
            negative_prompt: What the picture should not show.
            style: Look, such as "noto", "twemoji" or "fluent-emoji-3d"; empty leaves it open.
            size_px: Side in pixels, 256 or 128.
            num_inference_steps: Rounds of drawing, 1 to 64.
            guidance_scale: How much the prompt counts, 0 to 20.
            temperature: 0 always takes the likeliest; up to 2.
            num_images: 1 to 4; each has the next seed.
            seed: 0 to 4294967295; makes the same picture again. Empty draws one.

        Returns:
            {"images": [], "progress": 0 to 1} while it draws; the last one carries the files in
            "images", their "seeds" and everything about the generation: settings, timings, why
            it ended.
        """
        request = asked(
            prompt=prompt,
            negative_prompt=negative_prompt,
            style=style or None,
            size_px=size_px,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            temperature=temperature,
            num_images=num_images,
            seed=seed,
        )
        try:
            for state in draw(model, request, folder):
                if isinstance(state, Progress):
                    yield {"images": [], "progress": state.share}
                else:
                    yield {"images": [served(path) for path, _ in state.files], **state.record}
        except Exception as error:
            raise explained(error) from None

    def served(path: str) -> dict[str, Any]:
        """A file as clients fetch it."""
        data = FileData(path=path, orig_name=Path(path).name, mime_type="image/png").model_dump()
        return move_files_to_cache(data, pictures, postprocess=True)

    api(image_endpoint, api_name="image", concurrency_limit=PARALLEL, concurrency_id="model")
    return form, opened
