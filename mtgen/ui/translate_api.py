"""The endpoints /translate, /detect and /languages, for programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from gradio.events import api

from mtgen.errors import MtgenError
from mtgen.model.language import detect_language
from mtgen.requests import LANGUAGES, TranslationRequest, check_text
from mtgen.ui.model import SharedModel
from mtgen.ui.turns import PARALLEL, complaint, explained

REFRESH_S = 0.2
DEFAULTS = TranslationRequest(text="-", target="fr")


def pairs_of(glossary: Any) -> tuple[tuple[str, str], ...]:
    """What a client of the endpoint sent as glossary."""
    rows = glossary or []
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise complaint("glossary must be a list of [term, translation] pairs")
    return tuple(tuple(row) for row in rows)


def build_endpoints(model: SharedModel) -> None:
    """Adds the endpoints to the page under construction."""

    def translate_endpoint(
        text: str,
        target: str,
        source: str | None = None,
        num_alternatives: int = DEFAULTS.num_alternatives,
        num_beams: int = DEFAULTS.num_beams,
        glossary: list[list[str]] | None = None,
        seed: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Translates a text with the shared model; line breaks and markup are kept.

        Args:
            text: What to translate, up to 200,000 characters.
            target: Language to translate into: "en", "fr", "de" or "es".
            source: Language of the text; empty finds out.
            num_alternatives: Other translations of each sentence, 0 to 4.
            num_beams: Hypotheses that are followed, 1 to 8; more take longer.
            glossary: Pairs of a term and what it must become, such as [["Anna", "Anna"]].
            seed: 0 to 4294967295, for the record; the search itself draws nothing.

        Returns:
            {"text": the text so far, "progress": 0 to 1} while it grows; the last one carries
            everything about the translation: its sentences with their confidence and
            alternatives, the source language, settings, timings, notes, why it ended.
        """
        terms = pairs_of(glossary)
        try:
            request = TranslationRequest(
                text=text, target=target, source=source or None, num_beams=num_beams,
                num_alternatives=num_alternatives, glossary=terms, seed=seed,
            )  # fmt: skip
            stream = model.get().translation_stream(request)
            shown = time.monotonic()
            try:
                for progress in stream:
                    if time.monotonic() - shown > REFRESH_S:
                        share = progress.num_done / max(progress.num_sentences, 1)
                        yield {"text": progress.text, "progress": share}
                        shown = time.monotonic()
                yield stream.generation.as_dict()
            finally:
                stream.stop()
        except MtgenError as error:
            raise complaint(error) from None
        except Exception as error:
            raise explained(error) from None

    def detect(text: str) -> dict[str, Any]:
        """Tells which of the languages that are translated a text is in.

        Args:
            text: A sentence or more; single words often cannot be told.

        Returns:
            "language", or null where it cannot be told or is another; "confidence" from 0 to 1;
            "other", the code of that other language; "candidates", each with its confidence.
        """
        try:
            check_text(text, "text")
        except MtgenError as error:
            raise complaint(error) from None
        found = detect_language(text)
        candidates = [
            {"language": lang, "confidence": confidence} for lang, confidence in found.candidates
        ]
        return {
            "language": found.language, "confidence": found.confidence, "other": found.other,
            "candidates": candidates,
        }  # fmt: skip

    def languages() -> list[dict[str, Any]]:
        """Lists the languages that are translated, each from and into all others.

        Returns:
            "code", "name" and "targets" of each.
        """
        return [
            {"code": code, "name": name, "targets": [other for other in LANGUAGES if other != code]}
            for code, name in LANGUAGES.items()
        ]

    api(
        translate_endpoint, api_name="translate", concurrency_limit=PARALLEL,
        concurrency_id="model",
    )  # fmt: skip
    api(detect, api_name="detect")
    api(languages, api_name="languages")
