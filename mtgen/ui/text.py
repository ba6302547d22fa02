"""The Text tab: a chat that streams, stops, repeats and exports, and the /text endpoint."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from gradio.events import api

from mtgen.errors import MtgenError
from mtgen.requests import (
    MAX_NEW_TOKENS,
    MAX_SEED,
    MAX_TEMPERATURE,
    Generation,
    Message,
    TextRequest,
)
from mtgen.ui.model import SharedModel

REFRESH_S = 0.1
"""Seconds between updates of the page while text streams; each costs time on the same cores."""

PARALLEL = 2
"""Answers generated at once; the others queue and see their position."""

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


@dataclass
class Turn:
    """One answer in the making, waiting in the queue or being written."""

    stop: threading.Event = field(default_factory=threading.Event)
    discarded: bool = False
    """The chat was cleared meanwhile: what was written so far is not wanted."""


class Turns:
    """Who is answering whom, so that Stop reaches the generation itself.

    Gradio's own `cancels` only stops listening; the call would run on.
    """

    def __init__(self) -> None:
        self._turns: dict[str | None, Turn] = {}
        self._lock = threading.Lock()

    def begin(self, session: str | None) -> None:
        """Registers a session's turn.

        Raises:
            gr.Error: the session's last turn is not over.
        """
        with self._lock:
            if session in self._turns:
                raise gr.Error(
                    "the last answer is still being written; stop it first, with the square "
                    "button or Esc",
                    print_exception=False,
                )
            self._turns[session] = Turn()

    def current(self, session: str | None) -> Turn | None:
        """The turn that `begin` registered, until its end."""
        return self._turns.get(session)

    def stop(self, session: str | None, *, discard: bool = False) -> None:
        """Ends a session's turn, waiting or running, within one token."""
        turn = self.current(session)
        if turn:
            turn.discarded |= discard
            turn.stop.set()

    def end(self, session: str | None) -> None:
        """Stops and forgets a session's turn."""
        with self._lock:
            turn = self._turns.pop(session, None)
        if turn:
            turn.stop.set()


def pieces(
    model: SharedModel, request: TextRequest, stop: threading.Event | None = None
) -> Iterator[str | Generation]:
    """Growing text a few times a second, and at last the `Generation`.

    Raises:
        gr.Error: whatever went wrong, in one sentence.
    """
    try:
        stream = model.get().text_stream(request)
        text, shown = "", time.monotonic()
        for piece in stream:
            text += piece
            if stop and stop.is_set():
                stream.stop()
            if time.monotonic() - shown > REFRESH_S:
                yield text
                shown = time.monotonic()
        yield stream.generation
    except MtgenError as error:
        raise gr.Error(str(error), print_exception=False) from None


def asked(**fields: Any) -> TextRequest:
    """A `TextRequest`, or its complaint as the page shows it."""
    try:
        return TextRequest(**fields)
    except MtgenError as error:
        raise gr.Error(str(error), print_exception=False) from None


def content_text(content: Any) -> str:
    """Plain text of a chat message, which Gradio passes as parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(part.get("text") or "" for part in parts if isinstance(part, dict))


def as_messages(chat: list[dict[str, Any]]) -> tuple[Message, ...]:
    """The page's chat as the pipeline's history; turns without an answer are left out."""
    try:
        turns = [
            Message(role=turn.get("role"), content=content_text(turn.get("content")))  # type: ignore[arg-type]
            for turn in chat
        ]
    except MtgenError as error:
        raise gr.Error(str(error), print_exception=False) from None
    return tuple(turn for turn in turns if turn.content)


def status(generation: Generation) -> str:
    """One line under the chat."""
    timings = generation.timings
    reasons = {"length": "cut at the token limit", "cancelled": "stopped"}
    parts = [f"seed {generation.seed}", f"{timings.num_new_tokens} tokens"]
    if timings.tokens_per_s:
        parts.append(f"{timings.tokens_per_s:.0f} tokens/s")
    if generation.finish_reason in reasons:
        parts.append(reasons[generation.finish_reason])
    return " · ".join([*parts, *generation.notes])


def whole(value: float | None, name: str) -> int | None:
    """Gradio's number boxes give floats; 3.0 means 3, and 3.5 is the user's mistake."""
    if value is None:
        return None
    if float(value).is_integer():
        return int(value)
    raise gr.Error(f"{name} must be a whole number, got {value:g}", print_exception=False)


def position(index: int | tuple[int, int]) -> int:
    """Place of a message in the chat, from what Gradio's events carry."""
    return index if isinstance(index, int) else index[0]


def build_tab(model: SharedModel, page: gr.Blocks) -> None:
    """Adds the tab's components and events to the page under construction."""
    turns = Turns()

    records = gr.State([])  # one `Generation.as_dict()` for each answer in the chat
    draft = gr.State("")
    chat = gr.Chatbot(
        elem_id="chat",
        show_label=False,
        height="60vh",
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
                0, precision=None, label="Seed", minimum=0, maximum=MAX_SEED,
                info="makes the same answer again; shows the one used",
            )  # fmt: skip
            random_seed = gr.Checkbox(True, label="Random seed for each answer")
        system = gr.Textbox(
            label="System message", info="stays in front of the chat; empty keeps the model's own",
            placeholder="You answer like a friendly librarian.", max_lines=4,
        )  # fmt: skip

    def begin(text: str, history: list, request: gr.Request, **box: Any) -> tuple:
        """Shows the message at once and turns Send into Stop, without waiting in the queue."""
        asked(prompt=text)
        turns.begin(request.session_hash)
        history = [*history, {"role": "user", "content": text}]
        waiting = "" if model.ready else "Loading the model, once…"
        return history, gr.Textbox(submit_btn=False, stop_btn=True, **box), text, waiting

    def begin_typed(text: str, history: list, request: gr.Request) -> tuple:
        return begin(text, history, request, value="")

    def respond(
        history: list, past: list, system: str, temperature: float, top_p: float,
        max_new_tokens: float, seed: float | None, random_seed: bool, request: gr.Request,
    ) -> Iterator[tuple]:  # fmt: skip
        """Streams the answer to the chat's last message."""
        turn = turns.current(request.session_hash)
        if turn is None or turn.stop.is_set() or not history:
            yield gr.skip(), gr.skip(), gr.skip(), "stopped before it began"
            return
        try:
            question = asked(
                prompt=content_text(history[-1]["content"]),
                history=as_messages(history[:-1]),
                system=(system or "").strip() or None,
                max_new_tokens=whole(max_new_tokens, "max_new_tokens"),
                temperature=temperature,
                top_p=top_p,
                seed=None if random_seed else whole(seed, "seed"),
            )
            for piece in pieces(model, question, turn.stop):
                if turn.discarded:
                    return
                done = isinstance(piece, Generation)
                answer = {"role": "assistant", "content": piece.text if done else piece}
                if done:
                    past = [*past, piece.as_dict()]
                    yield [*history, answer], past, piece.seed, status(piece)
                else:
                    yield [*history, answer], gr.skip(), gr.skip(), gr.skip()
        except gr.Error as error:  # raised, it would cover the whole chat with one word
            gr.Warning(error.message, title="Not answered")
            yield gr.skip(), gr.skip(), gr.skip(), error.message

    def end(history: list, text: str, typed: str, request: gr.Request) -> tuple:
        """Turns Stop into Send; a message that got no answer goes back into the box."""
        turn = turns.current(request.session_hash)
        turns.end(request.session_hash)
        box: dict[str, Any] = {"submit_btn": True, "stop_btn": False}
        if turn and turn.discarded:
            return gr.Textbox(**box), "", []
        if history and history[-1]["role"] == "user":
            return gr.Textbox(value=typed or text, **box), "", history[:-1]
        return gr.Textbox(**box), "", gr.skip()

    settings = [system, temperature, top_p, max_new_tokens, seed, random_seed]

    def then_answer(event: Any) -> None:
        """What follows once the chat ends with a message to answer."""
        answered = event.success(
            respond,
            [chat, records, *settings],
            [chat, records, seed, state_line],
            show_progress="minimal",
            concurrency_limit=PARALLEL,
            concurrency_id="model",
            api_visibility="private",
        )
        answered.then(
            end, [chat, draft, prompt], [prompt, draft, chat], concurrency_limit=None,
            show_progress="hidden", api_visibility="private",
        )  # fmt: skip

    def listen(trigger: Any, fn: Any, inputs: list, outputs: list, **more: Any) -> Any:
        return trigger(
            fn, inputs, outputs, concurrency_limit=None, show_progress="hidden",
            api_visibility="private", **more,
        )  # fmt: skip

    began = [chat, prompt, draft, state_line]
    then_answer(listen(prompt.submit, begin_typed, [prompt, chat], began))

    def begin_example(data: gr.SelectData, request: gr.Request) -> tuple:
        return begin(data.value["text"], [], request)

    then_answer(listen(chat.example_select, begin_example, [], began))

    def rewind(history: list, past: list, index: int) -> tuple[list, list]:
        """The chat before the user's message at `index`, and the records that still hold."""
        kept = history[:index]
        return kept, past[: sum(turn["role"] == "assistant" for turn in kept)]

    def begin_again(history: list, past: list, request: gr.Request) -> tuple:
        questions = [i for i, turn in enumerate(history) if turn["role"] == "user"]
        if not questions:
            raise gr.Error("there is no answer to regenerate yet", print_exception=False)
        text = content_text(history[questions[-1]]["content"])
        kept, past = rewind(history, past, questions[-1])
        return *begin(text, kept, request), past

    def begin_retry(history: list, past: list, request: gr.Request, data: gr.RetryData) -> tuple:
        return begin_again(history[: position(data.index) + 1], past, request)

    def begin_edit(history: list, past: list, request: gr.Request, data: gr.EditData) -> tuple:
        kept, past = rewind(history, past, position(data.index))
        return *begin(content_text(data.value), kept, request), past

    then_answer(listen(again.click, begin_again, [chat, records], [*began, records]))
    then_answer(listen(chat.retry, begin_retry, [chat, records], [*began, records]))
    then_answer(listen(chat.edit, begin_edit, [chat, records], [*began, records]))

    def undo(history: list, past: list, data: gr.UndoData) -> tuple:
        index = position(data.index)
        kept, past = rewind(history, past, index)
        return kept, past, content_text(history[index]["content"]) if history else ""

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
            raise gr.Error("there is nothing to export yet", print_exception=False)
        return json.dumps({"generations": past}, indent=2)

    listen(export.click, collect, [records], [payload]).success(
        None, [payload], None, js=DOWNLOAD, api_visibility="private"
    )

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
            history=as_messages(history or []),
            system=system or None,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
        for piece in pieces(model, question):
            yield piece.as_dict() if isinstance(piece, Generation) else {"text": piece}

    api(text_endpoint, api_name="text", concurrency_limit=PARALLEL, concurrency_id="model")
