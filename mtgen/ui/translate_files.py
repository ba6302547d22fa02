"""The Translate tab's files: a document in, the same kind of document out."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import gradio as gr

from mtgen.documents import SUFFIXES, columns, open_document, translated_name
from mtgen.errors import MtgenError
from mtgen.marks.sidecar import SUFFIX, sidecar
from mtgen.model.trunk import writing
from mtgen.requests import LANGUAGES, TranslationGeneration, TranslationRequest
from mtgen.ui.model import SharedModel
from mtgen.ui.pictures import in_words, new_folder
from mtgen.ui.translate_form import Form
from mtgen.ui.translate_view import line
from mtgen.ui.turns import PARALLEL, Turns, complaint, explained, listen

BUSY = "the last file is still being translated; stop it first, with its Stop button or Esc"
STOPPED_EARLY = "stopped before it began"
REFRESH_S = 0.3

ABOUT = f"""
Drop a file ({", ".join(SUFFIXES)}) to translate it between the languages chosen above, with the
same settings and glossary. It comes back under the same type: time codes, tags, tables and layout
stay as they are.
"""


def bar_html(num_done: int, num_sentences: int, seconds_left: float | None) -> str:
    """Sentences done, time left, and both as a bar."""
    percent = round(100 * num_done / max(num_sentences, 1))
    left = "" if seconds_left is None else in_words(seconds_left)
    return (
        f'<div class="line" role="status"><span>{num_done:,} of {num_sentences:,} sentences{left}'
        f'</span></div><div class="bar" role="progressbar" aria-valuenow="{percent}" '
        f'aria-valuemin="0" aria-valuemax="100"><div style="width: {percent}%"></div></div>'
    )


def told(notes: list[str]) -> str:
    """Sentences that a user should know, as a list."""
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def notes_of(generation: TranslationGeneration) -> list[str]:
    """What a user should know of a translated file."""
    source, sentences = generation.request.source, generation.sentences
    notes = list(generation.notes)
    if generation.finish_reason == "cancelled":
        notes.append("What was not reached stays in its own language in the file.")
    if generation.detected is not None and source is not None:
        notes.append(f"It is in {LANGUAGES[source]}: {generation.detected:.0%} sure.")
    if generation.via:
        notes.append(f"By way of {LANGUAGES[generation.via]}.")
    marked = [s for s in sentences if s.notes]
    for sentence in marked[:5]:
        notes.append(f"{sentence.notes[0]} ({sentence.source[:60]})")
    if len(marked) > 5:
        notes.append(f"{len(marked) - 5} more sentences have such notes.")
    return notes


def content_of(path: str | None) -> tuple[str, bytes]:
    """Name and bytes of an uploaded file.

    Raises:
        gr.Error: there is none.
    """
    if not path:
        raise complaint(f"choose a file first: {', '.join(SUFFIXES)}")
    try:
        return Path(path).name, Path(path).read_bytes()
    except OSError:
        raise complaint("that file is no longer on the server; choose it again") from None


def build_section(model: SharedModel, page: gr.Blocks, form: Form) -> None:
    """Adds the section's components and events to the tab under construction."""
    turns = Turns(BUSY)
    bare: dict[str, Any] = {"elem_classes": "bare", "apply_default_css": False}
    with gr.Accordion("Files", open=False, elem_id="translate-files"):
        gr.Markdown(ABOUT)
        with gr.Row():
            with gr.Column(min_width=280):
                file = gr.File(
                    show_label=False, label="File to translate", height=140, elem_id="file",
                    file_types=[*SUFFIXES],
                )  # fmt: skip
            with gr.Column(min_width=280):
                column = gr.Dropdown(
                    [], label="Column to translate", visible=False, interactive=True,
                    elem_id="column",
                )  # fmt: skip
                with gr.Row():
                    go = gr.Button(
                        "Translate the file", variant="primary", min_width=140, elem_id="file-go"
                    )
                    stop = gr.Button(
                        "Stop", visible=False, min_width=140, elem_id="file-stop",
                        elem_classes=["stop-button", "danger"],
                    )  # fmt: skip
                save = gr.DownloadButton(visible=False, elem_id="file-save", min_width=140)
                facts = gr.DownloadButton(
                    "Facts about it (JSON)", visible=False, elem_id="file-facts", size="sm",
                )  # fmt: skip
                progress = gr.HTML(elem_id="file-progress", **bare)
                notes = gr.HTML(elem_id="file-notes", **bare)
    folder = Path(file.GRADIO_CACHE) / "mtgen"
    shown = {"progress": progress, "notes": notes, "save": save, "facts": facts}

    def update(**values: Any) -> tuple:
        return tuple(values.get(name, gr.skip()) for name in shown)

    def look(path: str) -> tuple:
        """Offers the columns of a table, or says why the file cannot be read."""
        gone = gr.DownloadButton(visible=False)
        try:
            name, content = content_of(path)
            names = columns(name, content)
            if not names:
                open_document(name, content)
        except (MtgenError, gr.Error) as error:
            said = getattr(error, "message", str(error))
            gr.Warning(said, title="Not read")
            hidden = gr.Dropdown(visible=False)
            return hidden, *update(
                progress=line(said, problem=True), notes="", save=gone, facts=gone
            )
        choice = gr.Dropdown(names, value=names[0] if names else None, visible=bool(names))
        return choice, *update(progress="", notes="", save=gone, facts=gone)

    def begin(request: gr.Request, path: str | None, *values: Any) -> tuple:
        """Turns Translate into Stop, at once."""
        content_of(path)
        try:
            TranslationRequest(text="-", **Form(*values).settings())
        except MtgenError as error:
            raise complaint(error) from None
        turns.begin(request.session_hash)
        waiting = "Reading the file…" if model.ready else "Loading the model, once…"
        gone = gr.DownloadButton(visible=False)
        return (
            gr.Button(visible=False),
            gr.Button(visible=True),
            *update(progress=line(waiting), notes="", save=gone, facts=gone),
        )

    def work(path: str, chosen: str | None, form: Form, stop: Event) -> Iterator[tuple]:
        """Translates a file and writes the new one, also where it was stopped."""
        name, content = content_of(path)
        document = open_document(name, content, column=chosen)
        settings = {**form.settings(), "num_alternatives": 0}
        stream = model.get().document_stream(document, stop=stop, **settings)
        started, told_at = time.monotonic(), 0.0
        total = sum(segment.translate for part in stream.parts for segment in part)
        yield update(progress=bar_html(0, total, None))
        for state in stream:
            now = time.monotonic()
            if now - told_at > REFRESH_S:
                missing = state.num_sentences - state.num_done
                left = (now - started) * missing / max(state.num_done, 1)
                yield update(progress=bar_html(state.num_done, state.num_sentences, left))
                told_at = now
        generation = stream.generation
        done, total = generation.timings.num_sentences, len(generation.sentences)
        if not done:
            said = STOPPED_EARLY if total else "there is nothing to translate in this file"
            yield update(progress=line(said), notes=told([*document.notes, *generation.notes]))
            return
        target = new_folder(folder) / translated_name(name, form.target)
        content = document.written(stream.pieces)
        about = target.with_name(target.name + SUFFIX)
        with writing(folder, "the server needs room there"):
            target.write_bytes(content)
            about.write_bytes(sidecar(generation, target.name, content))
        whole = generation.finish_reason != "cancelled"
        seconds = generation.timings.total_s
        said = f"{total:,} sentence{'s' if total != 1 else ''} · {seconds:.1f} s"
        if not whole:
            said = f"stopped after {done:,} of {total:,} sentences"
        label = f"Download {target.name}" if len(target.name) < 40 else "Download"
        yield update(
            progress=line(said),
            notes=told([*document.notes, *notes_of(generation)]),
            save=gr.DownloadButton(label, value=str(target), visible=True),
            facts=gr.DownloadButton(value=str(about), visible=True),
        )

    def respond(
        request: gr.Request, path: str, chosen: str | None, *values: Any
    ) -> Iterator[tuple]:
        turn = turns.current(request.session_hash)
        if turn is None or turn.stop.is_set():
            yield update(progress=line(STOPPED_EARLY))
            return
        try:
            yield from work(path, chosen, Form(*values), turn.stop)
        except Exception as error:  # raised, it would cover the section with one word
            failure = error if isinstance(error, gr.Error) else explained(error)
            gr.Warning(failure.message, title="Not translated")
            yield update(progress=line(failure.message, problem=True))

    def end(request: gr.Request) -> tuple:
        turns.end(request.session_hash)
        return gr.Button(visible=True), gr.Button(visible=False)

    def stop_turn(request: gr.Request) -> None:
        turns.stop(request.session_hash)

    def forget_turn(request: gr.Request) -> None:
        turns.end(request.session_hash)

    def emptied() -> tuple:
        gone = gr.DownloadButton(visible=False)
        return gr.Dropdown(visible=False), *update(progress="", notes="", save=gone, facts=gone)

    every = [*shown.values()]
    listen(file.upload, look, [file], [column, *every])
    listen(file.clear, emptied, [], [column, *every])
    listen(go.click, begin, [file, *form], [go, stop, *every]).success(
        respond, [file, column, *form], every, show_progress="hidden",
        concurrency_limit=PARALLEL, concurrency_id="model", api_visibility="private",
    ).then(
        end, [], [go, stop], concurrency_limit=None, show_progress="hidden",
        api_visibility="private",
    )  # fmt: skip
    listen(stop.click, stop_turn, [], [], queue=False)
    page.unload(forget_turn)
