"""The Text tab: a chat that streams, stops, repeats and exports, and the /text endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gradio as gr
from gradio.events import api

from mtgen.errors import MtgenError
from mtgen.requests import (
    MAX_NEW_TOKENS,
    MAX_TEMPERATURE,
    Generation,
    Message,
    TextRequest,
)
from mtgen.ui.model import SharedModel
from mtgen.ui.score_this import text_line
from mtgen.ui.turns import AS_MEASURED, PARALLEL, Turns, complaint, explained, listen, whole

REFRESH_S = 0.1
"""Seconds between updates of the page while text streams; each costs time on the same cores."""

BUSY = "the last answer is still being written; stop it first, with the square button or Esc"

STOPPED_EARLY = "stopped before it began"

EXAMPLES = [
    "Explain in two sentences why the sea is salty.",
    "Write a short story about a clock that runs backwards.",
    "Rewrite politely: send me the report now.",
]

DEFAULTS = TextRequest(prompt="-")

DOWNLOAD = """
(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = "mtgen-chat.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
"""


@dataclass(frozen=True, kw_only=True)
class Before:
    """The chat as it was before a turn: what comes back when the turn gives no answer."""

    chat: list = field(default_factory=list)
    records: list = field(default_factory=list)
    text: str = ""
    """What was typed or edited for the turn; goes back into the box."""


class Form(NamedTuple):
    """The components, or their values, that a sample of the evals fills."""

    chat: Any
    records: Any
    line: Any
    prompt: Any
    system: Any
    max_new_tokens: Any
    temperature: Any
    top_p: Any
    seed: Any
    random_seed: Any
    opened: Any

    @classmethod
    def filled(cls, request: TextRequest) -> Form:
        """Values that ask a request again, in an empty chat."""
        return cls(
            [], [], "", request.prompt, request.system or "", request.max_new_tokens,
            request.temperature, request.top_p, request.seed, False, request,
        )  # fmt: skip


def pieces(
    model: SharedModel, request: TextRequest, stop: threading.Event | None = None
) -> Iterator[str | Generation]:
    """Growing text a few times a second, and at last the `Generation`.

    Raises:
        gr.Error: whatever went wrong, in one sentence.
    """
    try:
        stream = model.get().text_stream(request, stop=stop)
        text, shown = "", 0.0  # the first word at once
        for piece in stream:
            text += piece
            if time.monotonic() - shown > REFRESH_S:
                yield text
                shown = time.monotonic()
        yield stream.generation
    except Exception as error:
        raise explained(error) from None


def asked(**fields: Any) -> TextRequest:
    """A `TextRequest`, or its complaint as the page shows it."""
    try:
        return TextRequest(**fields)
    except MtgenError as error:
        raise complaint(error) from None


def said(role: str, text: str) -> dict[str, Any]:
    """A chat message; as a part, because Gradio strips indentation from plain strings."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def content_text(content: Any) -> str:
    """Plain text of a chat message, which Gradio passes as parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(part.get("text") or "" for part in parts if isinstance(part, dict))


def as_messages(turns: list[tuple[Any, Any]]) -> tuple[Message, ...]:
    """Roles and contents as the pipeline's history."""
    try:
        return tuple(Message(role=role, content=content) for role, content in turns)
    except MtgenError as error:
        raise complaint(error) from None


def from_chat(chat: list[dict[str, Any]]) -> tuple[Message, ...]:
    """The page's chat as history."""
    return as_messages([(turn["role"], content_text(turn["content"])) for turn in chat])


def from_client(history: Any) -> tuple[Message, ...]:
    """What a client of the endpoint sent as history."""
    turns = history or []
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise complaint('history must be a list of {"role": ..., "content": ...} objects')
    return as_messages([(turn.get("role"), turn.get("content")) for turn in turns])


def status(generation: Generation) -> str:
    """One line under the chat."""
    timings = generation.timings
    reasons = {"length": "cut at the token limit", "cancelled": "stopped"}
    parts = [f"seed {generation.seed}", f"{timings.num_new_tokens} tokens"]
    if timings.tokens_per_s:
        parts.append(f"{timings.tokens_per_s:.0f} tokens/s")
    if generation.finish_reason in reasons:
        parts.append(reasons[generation.finish_reason])
    if generation.marks:
        parts.append("watermarked")
    return " · ".join([*parts, *generation.notes])


def position(index: int | tuple[int, int]) -> int:
    """Place of a message in the chat, from what Gradio's events carry."""
    return index if isinstance(index, int) else index[0]


def build_tab(model: SharedModel, page: gr.Blocks) -> Form:
    """Adds the tab's components and events to the page under construction."""
    turns = Turns(BUSY)

    opened = gr.State(None)  # a request of the evals; asked again, it has their marks
    records = gr.State([])  # one `Generation.as_dict()` for each answer in the chat
    before = gr.State(Before())
    chat = gr.Chatbot(
        elem_id="chat",
        show_label=False,
        height="54vh",
        min_height=280,
        buttons=["copy", "copy_all"],
        editable="user",
        allow_tags=False,
        feedback_options=None,
        placeholder="**Ask something**, or try one of these",
        examples=[{"text": example} for example in EXAMPLES],
    )
    prompt = gr.Textbox(
        elem_id="prompt",
        show_label=False,
        placeholder="Enter sends, Shift+Enter breaks the line, Esc stops",
        lines=1,
        max_lines=8,
        autofocus=True,
        submit_btn=True,
    )
    state_line = gr.Markdown("", elem_id="status")
    with gr.Row():
        again = gr.Button("Regenerate", size="sm", min_width=80, elem_id="again")
        clear = gr.Button("Clear", size="sm", min_width=80, elem_id="clear")
        export = gr.Button("Export", size="sm", min_width=80, elem_id="export")
        score = gr.Button("Score", size="sm", min_width=80, elem_id="score-text")
    payload = gr.Textbox(visible="hidden", elem_id="payload", show_label=False)
    with gr.Accordion("Settings", open=False):
        with gr.Row():
            temperature = gr.Slider(
                0, MAX_TEMPERATURE, DEFAULTS.temperature, step=0.05, label="Temperature",
                info="0 always takes the likeliest word",
            )  # fmt: skip
            top_p = gr.Slider(
                0.05, 1, DEFAULTS.top_p, step=0.05, label="Top-p",
                info="share of likely words to choose from",
            )  # fmt: skip
            max_new_tokens = gr.Slider(
                1, MAX_NEW_TOKENS, DEFAULTS.max_new_tokens, step=1, label="Max new tokens",
                info="longest answer",
            )  # fmt: skip
        with gr.Row():
            seed = gr.Number(
                0, precision=None, label="Seed",
                info="makes the same answer again; shows the one used",
            )  # fmt: skip
            random_seed = gr.Checkbox(True, label="Random seed for each answer")
        system = gr.Textbox(
            label="System message", info="stays in front of the chat; empty keeps the model's own",
            placeholder="You answer like a friendly librarian.", max_lines=4,
        )  # fmt: skip

    def begin(
        text: str, kept: list, was: Before, session: str | None, **box: Any
    ) -> tuple[Any, ...]:
        """Shows the message at once and turns Send into Stop, before it waits for its turn."""
        asked(prompt=text)
        turns.begin(session)
        waiting = "" if model.ready else "Loading the model, once…"
        kept = [*kept, said("user", text)]
        past = was.records[: sum(turn["role"] == "assistant" for turn in kept)]
        return kept, past, gr.Textbox(submit_btn=False, stop_btn=True, **box), was, waiting

    def begin_typed(text: str, chat: list, past: list, request: gr.Request) -> tuple:
        was = Before(chat=chat, records=past, text=text)
        return begin(text, chat, was, request.session_hash, value="")

    def respond(
        history: list, past: list, system: str, temperature: float, top_p: float,
        max_new_tokens: float, seed: float | None, random_seed: bool, opened: TextRequest | None,
        request: gr.Request,
    ) -> Iterator[tuple]:  # fmt: skip
        """Streams the answer to the chat's last message."""
        turn = turns.current(request.session_hash)
        unchanged = (gr.skip(), gr.skip(), gr.skip())
        if turn is None or turn.stop.is_set() or not history:
            yield *unchanged, STOPPED_EARLY
            return
        try:
            question = asked(
                prompt=content_text(history[-1]["content"]),
                history=from_chat(history[:-1]),
                system=(system or "").strip() or None,
                max_new_tokens=whole(max_new_tokens, "max_new_tokens"),
                temperature=temperature,
                top_p=top_p,
                seed=None if random_seed else whole(seed, "seed"),
            )
            again = question == opened
            for piece in pieces(model.measured if again else model, question, turn.stop):
                if turn.discarded:
                    return
                if isinstance(piece, str):
                    yield [*history, said("assistant", piece)], *unchanged
                elif piece.finish_reason == "cancelled" and not piece.text:
                    yield *unchanged, STOPPED_EARLY
                else:
                    answer = said("assistant", piece.text)
                    told = status(piece) + (AS_MEASURED if again else "")
                    yield [*history, answer], [*past, piece.as_dict()], piece.seed, told
        except gr.Error as error:  # raised, it would cover the whole chat with one word
            gr.Warning(error.message, title="Not answered")
            yield *unchanged, error.message

    def end(chat: list, past: list, was: Before, typed: str, request: gr.Request) -> tuple:
        """Turns Stop into Send; where no answer came, all is put back as it was."""
        turn = turns.current(request.session_hash)
        turns.end(request.session_hash)
        box: dict[str, Any] = {"submit_btn": True, "stop_btn": False}
        if turn and turn.discarded:
            return gr.Textbox(**box), [], []
        if chat and chat[-1]["role"] == "user":
            text = "\n".join(filter(None, [was.text, typed]))
            return gr.Textbox(value=text, **box), was.chat, was.records
        return gr.Textbox(**box), gr.skip(), past

    settings = [system, temperature, top_p, max_new_tokens, seed, random_seed]

    def then_answer(event: Any) -> None:
        """What follows once the chat ends with a message to answer."""
        answered = event.success(
            respond,
            [chat, records, *settings, opened],
            [chat, records, seed, state_line],
            show_progress="minimal",
            concurrency_limit=PARALLEL,
            concurrency_id="model",
            api_visibility="private",
        )
        answered.then(
            end, [chat, records, before, prompt], [prompt, chat, records], concurrency_limit=None,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    began = [chat, records, prompt, before, state_line]
    then_answer(listen(prompt.submit, begin_typed, [prompt, chat, records], began))

    def begin_example(data: gr.SelectData, request: gr.Request) -> tuple:
        return begin(data.value["text"], [], Before(), request.session_hash)

    then_answer(listen(chat.example_select, begin_example, [], began))

    def begin_again(chat: list, past: list, request: gr.Request) -> tuple:
        questions = [i for i, turn in enumerate(chat) if turn["role"] == "user"]
        if not questions:
            raise complaint("there is no answer to regenerate yet")
        text = content_text(chat[questions[-1]]["content"])
        was = Before(chat=chat, records=past)
        return begin(text, chat[: questions[-1]], was, request.session_hash)

    def begin_edit(chat: list, past: list, request: gr.Request, data: gr.EditData) -> tuple:
        # the chat holds the edited text already: what was before is in the event
        index, text = position(data.index), content_text(data.value)
        original = said("user", content_text(data.previous_value))
        was = Before(chat=[*chat[:index], original, *chat[index + 1 :]], records=past, text=text)
        return begin(text, chat[:index], was, request.session_hash)

    # Gradio offers Retry on the last answer only, so it is Regenerate by another name.
    then_answer(listen(again.click, begin_again, [chat, records], began))
    then_answer(listen(chat.retry, begin_again, [chat, records], began))
    then_answer(listen(chat.edit, begin_edit, [chat, records], began))

    def undo(chat: list, past: list, data: gr.UndoData) -> tuple:
        index = position(data.index)
        answers = sum(turn["role"] == "assistant" for turn in chat[:index])
        return chat[:index], past[:answers], content_text(chat[index]["content"]) if chat else ""

    listen(chat.undo, undo, [chat, records], [chat, records, prompt])

    def stop_turn(request: gr.Request) -> None:
        turns.stop(request.session_hash)

    def forget_turn(request: gr.Request) -> None:
        turns.end(request.session_hash)

    # past the queue: Stop works however long that is
    listen(prompt.stop, stop_turn, [], [], queue=False)
    page.unload(forget_turn)

    def wipe(request: gr.Request) -> tuple:
        turns.stop(request.session_hash, discard=True)
        return [], [], ""

    listen(clear.click, wipe, [], [chat, records, state_line])
    listen(chat.clear, wipe, [], [chat, records, state_line])

    def collect(past: list) -> str:
        if not past:
            raise complaint("there is nothing to export yet")
        return json.dumps({"generations": past}, indent=2)

    listen(export.click, collect, [records], [payload]).success(
        None, [payload], None, js=DOWNLOAD, api_visibility="private"
    )

    def score_last(chat: list) -> str:
        answers = [content_text(turn["content"]) for turn in chat if turn["role"] == "assistant"]
        try:
            return text_line(model, answers[-1] if answers else "")
        except Exception as error:
            raise explained(error) from None

    score.click(
        score_last, [chat], [state_line], show_progress="minimal", show_progress_on=state_line,
        concurrency_limit=PARALLEL, concurrency_id="model", api_visibility="private",
    )  # fmt: skip

    def text_endpoint(
        prompt: str,
        system: str | None = None,
        max_new_tokens: int = DEFAULTS.max_new_tokens,
        temperature: float = DEFAULTS.temperature,
        top_p: float = DEFAULTS.top_p,
        seed: int | None = None,
        history: list[dict[str, str]] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Answers a prompt with the shared model, as a stream of growing text.

        Args:
            prompt: What to say to the model.
            system: Instruction that goes in front; empty keeps the model's own.
            max_new_tokens: Longest answer, 1 to 4096 tokens.
            temperature: 0 always takes the likeliest token; up to 2.
            top_p: Sample from the likeliest tokens that hold this probability, up to 1.
            seed: 0 to 4294967295; makes the same answer again. Empty draws one.
            history: Earlier turns, oldest first, each with "role" and "content".

        Returns:
            {"text": the text so far} while it grows; the last one carries everything about
            the generation besides: the seed used, settings, timings, why it ended.
        """
        question = asked(
            prompt=prompt,
            history=from_client(history),
            system=system or None,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
        for piece in pieces(model, question):
            yield piece.as_dict() if isinstance(piece, Generation) else {"text": piece}

    api(text_endpoint, api_name="text", concurrency_limit=PARALLEL, concurrency_id="model")
    return Form(
        chat, records, state_line, prompt, system, max_new_tokens, temperature, top_p, seed,
        random_seed, opened,
    )  # fmt: skip
