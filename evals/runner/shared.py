"""The model that a page shares with its visitors, as evals ask it: no weight is read twice."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from mtgen.engine.linear import Updates
from mtgen.marks.keys import PUBLIC
from mtgen.marks.picture import FIRST_DAY
from mtgen.pipeline import Pipeline
from mtgen.requests import (
    Generation,
    ImageGeneration,
    ImageRequest,
    TextRequest,
    TranslationRequest,
)
from mtgen.tasks.image import ImageStream, Painters
from mtgen.tasks.text import TextStream
from mtgen.tasks.translate import TranslationStream


class Stopped(BaseException):
    """A sample was given up halfway: it has no answer, and gets no record.

    Like KeyboardInterrupt it is no failure of the sample, which would be asked again.
    """


class AnyOf(threading.Event):
    """Is set when one of several events is."""

    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self.events = events

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self.events)


class Measured(Pipeline):
    """A pipeline whose marks have the published key and a fixed day, so that runs can be repeated.

    Weights, experts and names are those of the pipeline beneath.

    Args:
        pipeline: That one.
        stop: Ends whatever is being made within one token once it is set; `text`, `image` and
            `translate_all` then raise `Stopped`.
    """

    def __init__(self, pipeline: Pipeline, stop: threading.Event | None = None) -> None:
        self._beneath, self._stop = pipeline, stop
        self._keys, self._keys_lock = PUBLIC, threading.Lock()
        self.today = lambda: FIRST_DAY

    def __getattr__(self, name: str) -> Any:
        return getattr(self._beneath, name)

    def painters(self) -> Painters:
        return self._beneath.painters()

    def translation_expert(self) -> list[Updates]:
        return self._beneath.translation_expert()

    def text_stream(
        self, request: TextRequest | str, *, stop: threading.Event | None = None, **settings: Any
    ) -> TextStream:
        return super().text_stream(request, stop=self._either(stop), **settings)

    def image_stream(
        self, request: ImageRequest | str, *, stop: threading.Event | None = None, **settings: Any
    ) -> ImageStream:
        return super().image_stream(request, stop=self._either(stop), **settings)

    def _translation_stream(
        self,
        request: TranslationRequest,
        stop: threading.Event | None = None,
        pieces: Sequence[str] | None = None,
    ) -> TranslationStream:
        return super()._translation_stream(request, self._either(stop), pieces)

    def text(self, request: TextRequest | str, **settings: Any) -> Generation:
        generation = super().text(request, **settings)
        self._check_going()
        return generation

    def image(self, request: ImageRequest | str, **settings: Any) -> ImageGeneration:
        generation = super().image(request, **settings)
        self._check_going()
        return generation

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str, **settings: Any
    ) -> list[str]:
        outputs = super().translate_all(texts, source=source, target=target, **settings)
        self._check_going()
        return outputs

    def _either(self, stop: threading.Event | None) -> threading.Event | None:
        if stop is None or self._stop is None:
            return stop or self._stop
        return AnyOf(stop, self._stop)

    def _check_going(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise Stopped
