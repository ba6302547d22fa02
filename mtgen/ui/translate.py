"""The Translate tab: a text in two panes, translated while it is typed, sentence by sentence."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from mtgen.documents import read_glossary
from mtgen.documents.base import clean
from mtgen.errors import MtgenError
from mtgen.requests import LANGUAGES, MAX_ALTERNATIVES, MAX_TEMPERATURE, TranslationRequest
from mtgen.ui import translate_api, translate_files
from mtgen.ui.model import SharedModel
from mtgen.ui.pictures import in_words
from mtgen.ui.score_this import translation_line
from mtgen.ui.translate_form import DETECT, Form, swapped
from mtgen.ui.translate_view import (
    CLICKS,
    COPY,
    COUNT,
    Shown,
    found_line,
    line,
    notes_html,
    panel_html,
    result_html,
)
from mtgen.ui.turns import AS_MEASURED, PARALLEL, Job, Newest, complaint, explained, listen

REFRESH_S = 0.2
"""Seconds between updates of the page while a translation grows."""

EXAMPLES = [
    ("The train to the coast leaves at half past nine. Shall we have breakfast first?", "fr"),
    ("Où est la gare, s'il vous plaît ? Je cherche le train pour Lyon.", "de"),
    ("Könnten Sie mir bitte helfen? Ich habe meinen Schlüssel verloren.", "en"),
    ("Mañana vamos a la playa si hace buen tiempo. ¿Quieres venir con nosotros?", "en"),
]
"""Texts, each with what it is translated into."""

NO_TERMS = [["", ""]] * 3
"""Rows of the glossary to begin with."""

DEFAULTS = TranslationRequest(text="-", target="fr", num_alternatives=3)


def build_tab(model: SharedModel, page: gr.Blocks) -> tuple[Form, gr.State]:
    """Adds the tab's components and events to the page under construction.

    Returns:
        The form, and the state for a request of the evals that was put into it.
    """
    opened = gr.State(None)  # asked again, it has the marks of evals
    texts, looks = Newest(), Newest()  # translations, and sentences that are looked at
    weights = model.weights
    shown_state = gr.State(Shown())
    langs = [(name, code) for code, name in LANGUAGES.items()]

    bare: dict[str, Any] = {"elem_classes": "bare", "apply_default_css": False}

    with gr.Row(elem_id="languages"):
        with gr.Column(scale=5, min_width=280):
            source = gr.Radio(
                [("Detect", DETECT), *langs], value=DETECT, label="From", container=False,
                elem_classes="chips", elem_id="source-language",
            )  # fmt: skip
        swap = gr.Button("⇄", elem_id="swap", min_width=44, scale=0)
        with gr.Column(scale=5, min_width=280):
            target = gr.Radio(
                langs, value=DEFAULTS.target, label="Into", container=False,
                elem_classes="chips", elem_id="target-language",
            )  # fmt: skip
    with gr.Row(elem_id="translate-panes"):
        with gr.Column(min_width=300):
            text = gr.Textbox(
                elem_id="source-text", show_label=False, label="Text to translate", lines=8,
                max_lines=24, container=False,
                placeholder="Type or paste a text · Ctrl+Enter translates at once, Esc stops",
            )  # fmt: skip
            with gr.Row(elem_id="source-line"):
                found = gr.HTML(line(""), elem_id="found-language", **bare)
                count = gr.HTML(elem_id="source-count", min_width=90, **bare)
            with gr.Row():
                go = gr.Button("Translate", variant="primary", min_width=110, elem_id="translate")
                stop = gr.Button(
                    "Stop", visible=False, min_width=110, elem_id="translate-stop",
                    elem_classes=["stop-button", "danger"],
                )  # fmt: skip
                clear = gr.Button("Clear", min_width=80, elem_id="translate-clear")
        with gr.Column(min_width=300):
            result = gr.HTML(result_html(Shown()), elem_id="translation", js_on_load=CLICKS, **bare)
            state_line = gr.HTML(line(""), elem_id="translate-status", **bare)
            with gr.Row():
                copy = gr.Button("Copy", min_width=80, elem_id="translate-copy")
            notes = gr.HTML(elem_id="translate-notes", **bare)
            sentence = gr.HTML(elem_id="sentence", js_on_load=CLICKS, **bare)
            with gr.Row(elem_id="score-row"):
                reference = gr.Textbox(
                    "", show_label=False, label="Reference", lines=1, max_lines=6,
                    container=False, scale=3, min_width=160, elem_id="reference",
                    placeholder="Reference, if you have one",
                )  # fmt: skip
                score = gr.Button("Score", min_width=80, scale=1, elem_id="score-translation")
    plain = gr.Textbox(visible="hidden", elem_id="translation-text", show_label=False)
    typed = gr.Button(visible="hidden", elem_id="translate-typed")
    examples = gr.Dataset(
        components=["textbox"], samples=[[sample] for sample, _ in EXAMPLES], type="index",
        show_label=False, elem_id="translate-examples", samples_per_page=len(EXAMPLES),
    )  # fmt: skip
    with gr.Accordion("Settings", open=False, elem_id="translate-settings"):
        with gr.Row():
            beams = gr.Slider(
                1, 8, DEFAULTS.num_beams, step=1, label="Beams",
                info="translations that are followed; more take longer",
            )  # fmt: skip
            alternatives = gr.Slider(
                0, MAX_ALTERNATIVES, DEFAULTS.num_alternatives, step=1, label="Alternatives",
                info="others to choose from; free of cost while below the beams",
            )  # fmt: skip
        with gr.Row():
            temperature = gr.Slider(
                0, MAX_TEMPERATURE, DEFAULTS.temperature, step=0.05, label="Temperature",
                info="0 searches with beams; above it samples",
            )  # fmt: skip
            seed = gr.Textbox(
                label="Seed", info="makes the same sample again", placeholder="random",
                max_lines=1, elem_id="translate-seed",
            )  # fmt: skip
    with gr.Accordion("Glossary", open=False, elem_id="glossary"):
        gr.Markdown(
            "Terms that must be translated so. One that stays as it is stands in both columns."
        )
        terms = gr.Dataframe(
            NO_TERMS, headers=["Term", "Translation"], column_count=2, type="array",
            column_widths=["50%", "50%"], interactive=True, show_label=False, elem_id="terms",
            max_height=260, buttons=[],
        )  # fmt: skip
        with gr.Row():
            load_terms = gr.UploadButton(
                "Load a CSV file", size="sm", min_width=130, file_types=[".csv", ".tsv", ".txt"],
                elem_id="load-terms",
            )  # fmt: skip
            no_terms = gr.Button("Clear the terms", size="sm", min_width=130, elem_id="no-terms")
        terms_line = gr.HTML(line(""), elem_id="terms-line", **bare)

    form = Form(text, source, target, beams, temperature, alternatives, seed, terms)

    translate_files.build_section(model, page, form)

    parts = {
        "shown": shown_state, "result": result, "plain": plain, "line": state_line,
        "notes": notes, "sentence": sentence, "found": found, "go": go, "stop": stop,
    }  # fmt: skip

    def update(**values: Any) -> tuple:
        """Updates of what a translation shows; parts that are not named stay as they are."""
        return tuple(values.get(name, gr.skip()) for name in parts)

    def view(shown: Shown, **more: Any) -> tuple:
        """Updates that show a translation, with no sentence open."""
        return update(
            shown=shown, result=result_html(shown, weights), plain=shown.text,
            notes=notes_html(shown, weights), sentence="", **more,
        )  # fmt: skip

    def buttons(running: bool) -> dict[str, Any]:
        return {"go": gr.Button(visible=not running), "stop": gr.Button(visible=running)}

    def begin(session: str | None, form: Form, shown: Shown, again: bool) -> tuple:
        """Takes up a text at once, in place of one that is being translated.

        Args:
            session: Of the visitor.
            form: Values.
            shown: What is on the page.
            again: Whether the same text is translated another time.
        """
        detection = form.detection()
        chosen = None if form.source == DETECT else form.source
        told, hindered = found_line(form.text or "", detection, chosen)
        told = line(told, problem=hindered)
        try:
            request = form.request(detection)
        except (MtgenError, gr.Error) as error:
            texts.drop(session)
            looks.drop(session)
            typing = not again and not (form.text or "").strip()
            said = "" if typing else getattr(error, "message", str(error))
            return view(
                Shown(), line=line(said, problem=True), found=told, **buttons(running=False)
            )
        same = request == texts.running(session) or (shown.finished and request == shown.asked)
        if same and not again:
            return update(found=told)
        looks.drop(session)
        texts.begin(session, request)
        said = "Translating…" if model.ready else "Loading the model, once…"
        return update(line=line(said), found=told, sentence="", **buttons(running=True))

    def begin_typed(request: gr.Request, shown: Shown, *values: Any) -> tuple:
        return begin(request.session_hash, Form(*values), shown, again=False)

    def begin_asked(request: gr.Request, shown: Shown, *values: Any) -> tuple:
        return begin(request.session_hash, Form(*values), shown, again=True)

    def translated(job: Job, opened: TranslationRequest | None) -> Iterator[tuple]:
        """Updates while a text is translated."""
        asked: TranslationRequest = job.work
        try:
            stream = (
                (model.measured if asked == opened else model)
                .get()
                .translation_stream(asked, stop=job.stop)
            )
            started, told_at = time.monotonic(), 0.0
            for progress in stream:
                now = time.monotonic()
                if job.discarded:
                    return
                if progress.num_done < progress.num_sentences and now - told_at > REFRESH_S:
                    told_at = now
                    missing = progress.num_sentences - progress.num_done
                    left = (now - started) * missing / max(progress.num_done, 1)
                    said = f"{progress.num_done} of {progress.num_sentences} sentences"
                    shown = Shown(parts=tuple(stream.so_far), asked=asked)
                    yield view(shown, line=line(said + in_words(left)))
            generation = stream.generation
            if job.discarded:
                return
            timings, total = generation.timings, len(generation.sentences)
            whole = generation.finish_reason != "cancelled"
            said = f"{total} sentence{'s' if total != 1 else ''} · {timings.total_s:.1f} s"
            if not whole:
                said = f"stopped after {timings.num_sentences} of {total} sentences"
            elif not total:
                said = "there is nothing to translate in it; it stays as it is"
            if asked.temperature:
                said += f" · seed {generation.request.seed}"
            if generation.marks and total:
                said += " · watermarked"
            if asked == opened:
                said += AS_MEASURED
            shown = Shown(
                parts=tuple(stream.so_far), asked=asked, via=generation.via,
                notes=generation.notes, finished=whole, confidence=generation.confidence,
            )  # fmt: skip
            yield view(shown, line=line(said))
        except Exception as error:  # raised, it would cover the panes with one word
            told = error if isinstance(error, gr.Error) else explained(error)
            if not job.discarded:
                yield update(line=line(told.message, problem=True))

    def translate_texts(opened: TranslationRequest | None, request: gr.Request) -> Iterator[tuple]:
        """Translates a visitor's texts until none is left; a newer one ends the one before."""
        yield update()
        session = request.session_hash
        while (job := texts.claim(session)) is not None:
            try:
                yield from translated(job, opened)
            finally:
                texts.end(session, job)

    def end(request: gr.Request) -> tuple:
        if texts.running(request.session_hash) is not None:
            return gr.skip(), gr.skip()
        return tuple(buttons(running=False).values())

    def refused(request: gr.Request) -> tuple:
        """The queue is full."""
        texts.drop(request.session_hash)
        return line("too many visitors are waiting; try again in a moment", problem=True), *end(
            request
        )

    def then_translate(begun: Any) -> None:
        """What follows once a text has been taken up."""
        done = begun.success(
            translate_texts, [opened], [*parts.values()], show_progress="hidden",
            trigger_mode="multiple", concurrency_limit=PARALLEL, concurrency_id="model",
            api_visibility="private",
        )  # fmt: skip
        listen(done.success, end, [], [go, stop], trigger_mode="multiple")
        listen(done.failure, refused, [], [state_line, go, stop], trigger_mode="multiple")

    every = [shown_state, *form]
    at_once: dict[str, Any] = {"trigger_mode": "multiple", "queue": False}
    begins = [*parts.values()]
    then_translate(listen(typed.click, begin_typed, every, begins, **at_once))
    for trigger in (source.input, target.input):
        then_translate(listen(trigger, begin_typed, every, begins, **at_once))
    for trigger in (go.click, text.submit):
        then_translate(listen(trigger, begin_asked, every, begins, **at_once))

    def begin_example(request: gr.Request, index: int, shown: Shown, *values: Any) -> tuple:
        sample, into = EXAMPLES[index]
        asked = Form(*values)._replace(text=sample, source=DETECT, target=into)
        return sample, DETECT, into, *begin(request.session_hash, asked, shown, again=True)

    head = [text, source, target]
    begun = listen(examples.click, begin_example, [examples, *every], [*head, *begins], **at_once)
    then_translate(begun)

    def begin_swapped(request: gr.Request, shown: Shown, *values: Any) -> tuple:
        asked = Form(*values)
        found = asked.detection()
        known = found.language if found else None
        if shown.asked is not None and shown.asked.text == asked.text:
            known = shown.asked.source
        try:
            written = clean(shown.text) or ""  # a model can write any character
            new = swapped(asked.text or "", asked.source, asked.target, written, known)
        except MtgenError as error:
            return *(gr.skip(),) * 3, *update(line=line(str(error), problem=True))
        session = request.session_hash
        asked = asked._replace(text=new[0], source=new[1], target=new[2])
        return *new, *begin(session, asked, shown, again=bool(new[0].strip()))

    then_translate(listen(swap.click, begin_swapped, every, [*head, *begins], **at_once))

    def stop_text(request: gr.Request) -> None:
        texts.stop(request.session_hash)
        looks.stop(request.session_hash)

    def forget(request: gr.Request) -> None:
        texts.drop(request.session_hash)
        looks.drop(request.session_hash)

    listen(stop.click, stop_text, [], [], queue=False)
    page.unload(forget)

    def wipe(request: gr.Request) -> tuple:
        forget(request)
        return "", *view(Shown(), line=line(""), found=line(""), **buttons(running=False))

    listen(clear.click, wipe, [], [text, *begins], queue=False)
    listen(text.change, None, [text], [count], js=COUNT)
    listen(copy.click, None, [plain], None, js=COPY).then(
        lambda shown: line("copied" if shown else "there is no translation to copy yet"),
        [plain], [state_line], show_progress="hidden", api_visibility="private", queue=False,
    )  # fmt: skip

    def score_shown(shown: Shown, wanted: str) -> str:
        asked = shown.asked
        try:
            told = translation_line(
                asked.text if asked else "", shown.text if asked else "", wanted or "",
                (asked and asked.source) or "", asked.target if asked else "",
                shown.confidence, weights,
            )  # fmt: skip
            return line(told)
        except Exception as error:
            return line(explained(error).message, problem=True)

    score.click(
        score_shown, [shown_state, reference], [state_line], show_progress="hidden",
        concurrency_limit=PARALLEL, concurrency_id="model", api_visibility="private",
    )  # fmt: skip

    def look(session: str | None, shown: Shown) -> tuple:
        """Shows what is known of the open sentence, and begins to translate it back."""
        looked_at = shown.sentences[shown.open or 0]
        assert shown.asked is not None
        looks.begin(session, (shown, looked_at))
        return update(
            shown=shown, result=result_html(shown, weights), plain=shown.text,
            sentence=panel_html(shown, weights, waiting=True), notes=notes_html(shown, weights),
        )  # fmt: skip

    def open_sentence(request: gr.Request, shown: Shown, data: gr.EventData) -> tuple:
        number = data.number
        if not 0 <= number < len(shown.sentences) or not shown.sentences[number].done:
            return update()
        if number == shown.open:  # a second click closes it
            looks.drop(request.session_hash)
            return view(dataclasses.replace(shown, open=None))
        return look(request.session_hash, dataclasses.replace(shown, open=number, back=None))

    def choose(request: gr.Request, shown: Shown, data: gr.EventData) -> tuple:
        if shown.open is None or not (
            0 <= data.number < len(shown.sentences[shown.open].alternatives)
        ):
            return update()
        return look(request.session_hash, shown.with_alternative(data.number))

    def turned_back(job: Job) -> Iterator[tuple]:
        """The open sentence in the source language again."""
        shown, looked_at = job.work
        asked = shown.asked
        try:
            request = TranslationRequest(
                text=clean(looked_at.text) or "",
                source=asked.target,
                target=asked.source,
                num_beams=2,
            )
            generation = model.get().translation_stream(request, stop=job.stop).generation
            whole = generation.finish_reason != "cancelled"
            back = generation.text if whole else "stopped"
        except Exception as error:
            told = error if isinstance(error, gr.Error) else explained(error)
            back = told.message
        if not job.discarded:
            shown = dataclasses.replace(shown, back=back)
            yield update(shown=shown, sentence=panel_html(shown, weights))

    def turn_back(request: gr.Request) -> Iterator[tuple]:
        yield update()
        while (job := looks.claim(request.session_hash)) is not None:
            try:
                yield from turned_back(job)
            finally:
                looks.end(request.session_hash, job)

    for trigger, fn in ((result.click, open_sentence), (sentence.click, choose)):
        listen(trigger, fn, [shown_state], begins, **at_once).success(
            turn_back, [], begins, show_progress="hidden", trigger_mode="multiple",
            concurrency_limit=PARALLEL, concurrency_id="model", api_visibility="private",
        )  # fmt: skip

    def fill_terms(path: str) -> tuple:
        try:
            pairs = read_glossary(Path(path).name, Path(path).read_bytes())
        except MtgenError as error:
            raise complaint(error) from None
        except OSError:
            raise complaint("that file is no longer on the server; load it again") from None
        return [list(pair) for pair in pairs], line(
            f"{len(pairs)} term{'s' if len(pairs) != 1 else ''}"
        )

    listen(load_terms.upload, fill_terms, [load_terms], [terms, terms_line])
    listen(no_terms.click, lambda: (NO_TERMS, line("")), [], [terms, terms_line])

    translate_api.build_endpoints(model)
    return form, opened
