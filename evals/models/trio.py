"""Three models, one for each task, as if they were one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

from evals.models.base import Foreign
from mtgen.errors import SettingError
from mtgen.requests import Generation, ImageGeneration, ImageRequest, TextRequest

OF_TASK = {
    "text": {"text", "likelihood", "choice"},
    "translation": {"translation"},
    "image": {"image"},
}
"""Kinds of samples of each task."""


class Trio(Foreign):
    """Each task goes to the model in its place.

    Args:
        parts: A model for each key of OF_TASK that is served.
    """

    def __init__(self, parts: dict[str, Any]) -> None:
        kinds = [
            kind for task, part in parts.items() for kind in OF_TASK[task]
            if kind in getattr(part, "kinds", OF_TASK[task])
        ]  # fmt: skip
        super().__init__("trio:" + ",".join(names(parts)), kinds)
        self.parts = parts

    @classmethod
    def load(cls, name: str) -> Trio:
        """From `trio:TEXT,TRANSLATE,IMAGE`.

        Raises:
            SettingError: not three places, or all of them empty; others as of each model.
        """
        import mtgen
        from evals.models import load_foreign
        from mtgen.marks.keys import PUBLIC

        places = name.partition(":")[2].split(",")
        if len(places) != len(OF_TASK) or not any(places):
            raise SettingError(
                f"{name} must have three places with commas between, text, translation and image; "
                "a place may be empty, as in trio:owner/name,,"
            )
        loaded: dict[str, Any] = {}
        for place in filter(None, places):
            if place not in loaded:
                trunk = None if place == "mtgen" else place
                foreign = load_foreign(place) if trunk else None
                loaded[place] = foreign or mtgen.load(trunk, keys=PUBLIC)
        return cls({
            task: loaded[place] for task, place in zip(OF_TASK, places, strict=True) if place
        })  # fmt: skip

    def weights_sha256(self) -> str:
        digests = [part.weights_sha256() for part in self.parts.values()]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def text(self, request: TextRequest, *, stop: threading.Event | None = None) -> Generation:
        return self.parts["text"].text(request, stop=stop)

    def log_likelihood(self, text: str) -> Any:
        return self.parts["text"].log_likelihood(text)

    def option_log_likelihoods(self, options: Sequence[tuple[str, str]]) -> list[Any]:
        return self.parts["text"].option_log_likelihoods(options)

    def translate_all(
        self, texts: Sequence[str], *, source: str, target: str,
        stop: threading.Event | None = None, **settings: Any,
    ) -> list[str]:  # fmt: skip
        part = self.parts["translation"]
        return part.translate_all(texts, source=source, target=target, stop=stop, **settings)

    def image(
        self, request: ImageRequest, *, stop: threading.Event | None = None
    ) -> ImageGeneration:
        return self.parts["image"].image(request, stop=stop)


def names(parts: dict[str, Any]) -> list[str]:
    """Of the models, by task; empty where there is none."""
    return [getattr(parts.get(task), "model", "") for task in OF_TASK]
