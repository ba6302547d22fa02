"""What suites ask of a model, and what every model of others has in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtgen.errors import BadRequestError
from mtgen.model.sampling import draw_seed
from mtgen.requests import Generation, ImageGeneration, ImageRequest, TextRequest, Timings

if TYPE_CHECKING:
    from torch import Tensor

    from evals.suites.base import Suite

WEIGHT_FILES = ("*.safetensors", "*.bin")


class Foreign:
    """A model of others; each kind overrides what it can do.

    Args:
        model: Its name, for results.
        kinds: Of samples that it can be asked: keys of `evals.suites.base.KINDS`.
    """

    def __init__(self, model: str, kinds: Sequence[str]) -> None:
        self.model = self.translation_model = model
        self.kinds = frozenset(kinds)

    def weights_sha256(self) -> str:
        """Hex digest that tells these weights from all others; empty where they are elsewhere."""
        return ""

    def text(self, request: TextRequest, *, stop: threading.Event | None = None) -> Generation:
        """An answer; once `stop` is set it ends early, `cancelled`, where the kind of model can."""
        raise BadRequestError(f"{self.model} writes no text")

    def log_likelihood(self, text: str) -> Tensor:
        """As `mtgen.Pipeline.log_likelihood`."""
        raise BadRequestError(f"{self.model} gives no likelihoods")

    def option_log_likelihoods(self, options: Sequence[tuple[str, str]]) -> list[Tensor]:
        """As `mtgen.Pipeline.option_log_likelihoods`."""
        raise BadRequestError(f"{self.model} gives no likelihoods")

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        """As `mtgen.Pipeline.translate_all`."""
        raise BadRequestError(f"{self.model} does not translate")

    def image(
        self, request: ImageRequest, *, stop: threading.Event | None = None
    ) -> ImageGeneration:
        """Pictures; `stop` as of `text`."""
        raise BadRequestError(f"{self.model} draws no pictures")


class TimeLimit(threading.Event):
    """Is set when time is over; counts while it is a context.

    Args:
        seconds: For each sample; None for no limit.
        num_samples: That share it.
    """

    def __init__(self, seconds: float | None = None, num_samples: int = 1) -> None:
        super().__init__()
        self.seconds, self.num_samples = seconds, num_samples
        self.sentence = f"no answer within {seconds:g} s a sample" if seconds else ""
        self._timer: threading.Timer | None = None

    def __enter__(self) -> TimeLimit:
        if self.seconds is not None:
            self._timer = threading.Timer(self.seconds * self.num_samples, self.set)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def check(self, generation: Generation | ImageGeneration) -> None:
        """Refuses half an answer.

        Raises:
            TimeoutError: it was cancelled.
        """
        if generation.finish_reason == "cancelled":
            raise TimeoutError(self.sentence)


def kinds_of(suite: Suite) -> frozenset[str]:
    """Kinds of a suite's samples."""
    from evals.suites.base import kind_of

    return frozenset(map(kind_of, suite.samples()))


def files_sha256(folder: Path) -> str:
    """Hex digest of all weights below a folder."""
    from mtgen.model.trunk import sha256_of_all

    return sha256_of_all(sorted(path for kind in WEIGHT_FILES for path in folder.rglob(kind)))


def seed_of(request: TextRequest | ImageRequest) -> int:
    """The request's seed, or one that is drawn."""
    return draw_seed() if request.seed is None else request.seed


class Clock:
    """Times of an answer; `put` and `end` make it a streamer of `transformers`."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.tokens: list[float] = []
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        """Called with the prompt, then with each token."""
        if self._prompt_seen:
            self.tokens.append(time.perf_counter())
        self._prompt_seen = True

    def end(self) -> None:
        """Called at the end."""

    def timings(self, num_prompt_tokens: int, num_new_tokens: int) -> Timings:
        """In the terms of our own."""
        now = time.perf_counter()
        first = self.tokens[0] if self.tokens else now
        last = self.tokens[-1] if self.tokens else now
        return Timings(
            num_prompt_tokens=num_prompt_tokens, num_new_tokens=num_new_tokens,
            first_token_s=first - self.began, total_s=now - self.began,
            num_decode_steps=max(0, len(self.tokens) - 1), decode_s=last - first,
        )  # fmt: skip
