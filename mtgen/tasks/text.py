"""The text task: a chat prompt within the context, then one token after another."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from mtgen.engine import Runtime
from mtgen.errors import PromptTooLongError
from mtgen.model.sampling import Unmarked, Writer, draw_seed, seeded
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.requests import FinishReason, Generation, Message, TextRequest, Timings

NO_CHANCE = "not marked: no choice was left that could carry a watermark, as at temperature 0"


def build_prompt(
    request: TextRequest, tokenizer: ChatTokenizer, context_length: int
) -> tuple[list[int], tuple[str, ...]]:
    """Token ids that fit, and notes on what was left out.

    History is dropped a turn at a time from the oldest, a user's turn with its answer.

    Raises:
        PromptTooLongError: the prompt does not fit even without history.
    """
    room = context_length - request.max_new_tokens
    front = [] if request.system is None else [Message(role="system", content=request.system)]
    last = Message(role="user", content=request.prompt)

    def encode(first: int) -> list[int]:
        return tokenizer.encode_chat([*front, *request.history[first:], last])

    # Where history may begin: anywhere that a user speaks, or nowhere.
    turns = [i for i, m in enumerate(request.history) if i and m.role == "user"]
    begins = [0, *turns, len(request.history)]
    dropped, ids = 0, encode(0)
    if len(ids) > room:
        fits = bisect.bisect_left(begins, True, key=lambda first: len(encode(first)) <= room)
        dropped = begins[min(fits, len(begins) - 1)]
        ids = encode(dropped)
    if len(ids) > room:
        raise PromptTooLongError(
            f"the prompt has {len(ids):,} tokens, and with max_new_tokens="
            f"{request.max_new_tokens:,} there is room for {max(room, 0):,} of the model's "
            f"{context_length:,}; shorten it or ask for fewer new tokens"
        )
    if not dropped:
        return ids, ()
    messages = "message was" if dropped == 1 else "messages were"
    return ids, (f"the {dropped} oldest {messages} left out: the context is full",)


class TextStream:
    """Iterates over pieces of text while they are generated.

    `stop()`, from any thread, ends it within one token. Afterwards `generation` holds the
    whole result; a stream that is dropped half-way does no further work.
    """

    def __init__(
        self,
        request: TextRequest,
        runtime: Runtime,
        tokenizer: ChatTokenizer,
        model: str,
        stop: threading.Event | None = None,
        writer: Writer | None = None,
        marks: tuple[str, ...] = (),
    ) -> None:
        """Fits the prompt into the context.

        Args:
            request: The prompt with its settings.
            runtime: The trunk.
            tokenizer: Of the trunk.
            model: Name for the `Generation`.
            stop: See above.
            writer: Takes the tokens; None samples without a mark.
            marks: What it marks them with, for the `Generation`.

        Raises:
            PromptTooLongError: see `build_prompt`.
        """
        self._started = time.perf_counter()
        self.request = dataclasses.replace(
            request, seed=draw_seed() if request.seed is None else request.seed
        )
        self._writer, self._marks = writer or Unmarked(), marks
        self.prompt_ids, self.notes = build_prompt(
            self.request, tokenizer, runtime.config.context_length
        )
        self.token_ids: list[int] = []
        self._runtime, self._tokenizer, self._model = runtime, tokenizer, model
        self._stopped = stop or threading.Event()
        self._generation: Generation | None = None
        self._pieces = self._run()

    def stop(self) -> None:
        """Asks the stream to end; it does so before the next token."""
        self._stopped.set()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def generation(self) -> Generation:
        """The result; runs the stream to its end if it is not there yet."""
        for _ in self._pieces:
            pass
        if self._generation is None:
            raise RuntimeError("the stream was closed by an error before it had a result")
        return self._generation

    def _run(self) -> Iterator[str]:
        request, tokenizer = self.request, self._tokenizer
        assert request.seed is not None
        generator = seeded(request.seed)
        first_token_s = decode_s = 0.0
        num_steps, has_ended = 0, False
        before = self._started

        def choose(logits: Tensor) -> int | None:
            nonlocal first_token_s, decode_s, num_steps, has_ended, before
            token = self._writer.next(logits, request.temperature, request.top_p, generator)
            now = time.perf_counter()
            num_steps += 1
            if num_steps == 1:
                first_token_s = now - before
            else:
                decode_s += now - before
            before = now
            has_ended = token in tokenizer.eos_ids
            return None if has_ended else token

        cache, num_known = self._runtime.begin(
            self.prompt_ids, len(self.prompt_ids) + request.max_new_tokens - 1
        )
        to_read = torch.tensor(self.prompt_ids[num_known:])
        decoder = tokenizer.stream()
        finish_reason: FinishReason = "length"
        sent = ""
        tokens = self._runtime.generate(to_read, cache, choose, self._stopped)
        with contextlib.closing(tokens):
            for token in tokens:
                if self._stopped.is_set():
                    break
                self.token_ids.append(token)
                if piece := decoder.feed(token):
                    sent += piece
                    yield piece
        self._runtime.keep([*self.prompt_ids, *self.token_ids], cache)
        if has_ended and len(self.token_ids) == num_steps - 1:
            finish_reason = "stop"
        elif len(self.token_ids) < request.max_new_tokens:
            finish_reason = "cancelled"
        marked = self._writer.num_marked > 0
        if self._marks and self.token_ids and not marked:
            self.notes = (*self.notes, NO_CHANCE)
        text = tokenizer.decode(self.token_ids)
        if len(text) > len(sent) and text.startswith(sent):  # a character that was never finished
            yield text[len(sent) :]
        self._generation = Generation(
            text=text,
            request=request,
            finish_reason=finish_reason,
            timings=Timings(
                num_prompt_tokens=len(self.prompt_ids),
                num_new_tokens=len(self.token_ids),
                first_token_s=first_token_s,
                total_s=time.perf_counter() - self._started,
                num_decode_steps=max(num_steps - 1, 0),
                decode_s=decode_s,
            ),
            model=self._model,
            notes=self.notes,
            marks=self._marks if marked else (),
        )
