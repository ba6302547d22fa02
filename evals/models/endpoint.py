"""Servers that speak OpenAI's chat completions: texts, and translation in words."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urldefrag

import httpx

from evals.models.base import Clock, Foreign, seed_of
from evals.runner.trunk_alone import asked_in_words
from mtgen.errors import BadRequestError, MtgenError, SettingError, TrunkNotFoundError
from mtgen.requests import UNMARKED, Generation, Message, TextRequest

KEY_ENV = "OPENAI_API_KEY"
TIMEOUT_S = 120.0
RETRIES = 3
LONGEST = 1024
"""Tokens of a translation."""


class Endpoint(Foreign):
    """Asked for whole answers; the key comes from OPENAI_API_KEY, if there is one.

    Args:
        address: `https://host/v1#model`.
    """

    def __init__(self, address: str) -> None:
        base, name = urldefrag(address)
        if not name:
            raise SettingError(
                f"the address {address} names no model; write it behind a #: {address}#NAME"
            )
        super().__init__(name, ("text", "translation"))
        self.url = base.rstrip("/") + "/chat/completions"
        key = os.environ.get(KEY_ENV)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.HTTPTransport(retries=RETRIES)
        self.client = httpx.Client(timeout=TIMEOUT_S, headers=headers, transport=transport)

    def ask(
        self, messages: Sequence[Message], stop: threading.Event | None = None, **settings: Any
    ) -> tuple[str, str, dict[str, int]]:
        """Answer, why it ended, and counts of tokens.

        The server has as long as a `TimeLimit` says, or TIMEOUT_S, to send something.

        Raises:
            TimeoutError: it did not.
            TrunkNotFoundError: the server cannot be reached.
            BadRequestError: it refuses the request.
            MtgenError: it answers something else.
        """
        body = {
            "model": self.model,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            **settings,
        }
        seconds = getattr(stop, "seconds", None) or TIMEOUT_S
        try:
            answer = self.client.post(self.url, json=body, timeout=seconds)
        except httpx.ReadTimeout:
            raise TimeoutError(f"{self.url} sent no answer within {seconds:g} s") from None
        except httpx.HTTPError as error:
            raise TrunkNotFoundError(f"{self.url} cannot be reached ({error})") from None
        if 400 <= answer.status_code < 500 and answer.status_code not in (401, 403, 404, 429):
            raise BadRequestError(f"{self.model} refused the request: {answer.text[:200]}")
        if answer.status_code != 200:
            raise MtgenError(f"{self.url} answered {answer.status_code}: {answer.text[:200]}")
        try:
            found = answer.json()
            choice = found["choices"][0]
            text = choice["message"]["content"] or ""
            return text, str(choice.get("finish_reason")), found.get("usage") or {}
        except (ValueError, KeyError, IndexError, TypeError):
            raise MtgenError(
                f"{self.url} answered no chat completion: {answer.text[:200]}"
            ) from None

    def text(self, request: TextRequest, *, stop: threading.Event | None = None) -> Generation:
        clock, seed = Clock(), seed_of(request)
        system = [Message(role="system", content=request.system)] if request.system else []
        text, reason, usage = self.ask(
            [*system, *request.history, Message(role="user", content=request.prompt)], stop,
            max_tokens=request.max_new_tokens, temperature=request.temperature,
            top_p=request.top_p, seed=seed,
        )  # fmt: skip
        return Generation(
            text=text, request=dataclasses.replace(request, seed=seed, mark=UNMARKED),
            finish_reason="length" if reason == "length" else "stop", model=self.model,
            timings=clock.timings(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)),
        )  # fmt: skip

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        outputs = []
        for text in texts:
            asked = asked_in_words(text, source, target)
            outputs.append(self.ask([asked], stop, max_tokens=LONGEST, temperature=0)[0].strip())
        return outputs
