"""The Translate tab's form: what its fields ask for."""

from __future__ import annotations

from typing import Any, NamedTuple

from mtgen.errors import EmptyPromptError, LanguageError, PromptTooLongError, SettingError
from mtgen.model.language import Detection, detect_language
from mtgen.requests import LANGUAGES, TranslationRequest, check_text
from mtgen.ui.image_form import parse_seed
from mtgen.ui.translate_view import MAX_TYPED, found_line
from mtgen.ui.turns import whole

DETECT = "detect"
EMPTY = "type or paste a text to translate"


class Form(NamedTuple):
    """The components, or their values, that make a request."""

    text: Any
    source: Any
    target: Any
    num_beams: Any
    temperature: Any
    num_alternatives: Any
    seed: Any
    glossary: Any

    @classmethod
    def asking(cls, request: TranslationRequest) -> Form:
        """Values that make a request."""
        return cls(
            request.text, request.source or DETECT, request.target, request.num_beams,
            request.temperature, request.num_alternatives,
            "" if request.seed is None else str(request.seed),
            [list(pair) for pair in request.glossary] or [["", ""]],
        )  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """Fields of a `TranslationRequest` beside its text.

        Raises:
            gr.Error: a number that is none, or a glossary with a hole.
            SettingError: the same.
        """
        return {
            "source": None if self.source in (None, DETECT) else self.source,
            "target": self.target,
            "num_beams": whole(self.num_beams, "num_beams"),
            "temperature": self.temperature,
            "num_alternatives": whole(self.num_alternatives, "num_alternatives"),
            "seed": parse_seed(self.seed),
            "glossary": terms_of(self.glossary),
        }

    def detection(self) -> Detection | None:
        """The language of the text; None where it holds no words."""
        text = self.text or ""
        return detect_language(text) if any(char.isalpha() for char in text) else None

    def request(self, found: Detection | None) -> TranslationRequest:
        """What the values ask for, in a language that is known.

        Args:
            found: From `detection`.

        Raises:
            MtgenError: they ask for nothing that can be translated.
            gr.Error: as `settings`.
        """
        text = self.text or ""
        if not text.strip():
            raise EmptyPromptError(EMPTY)
        check_text(text, "text")
        if len(text) > MAX_TYPED:
            raise PromptTooLongError(
                f"the text has {len(text):,} characters and up to {MAX_TYPED:,} are translated "
                "here; save it as a .txt file and open it under Files"
            )
        if found is None:
            raise EmptyPromptError("there are no words in this text to translate")
        settings = self.settings()
        if settings["source"] is None:
            told, hindered = found_line(text, found, None)
            if hindered:
                raise LanguageError(sentence_of(told))
            settings["source"] = found.language
            if found.language == self.target:
                raise SettingError(
                    f"the text is {LANGUAGES[self.target]} already; choose another language to "
                    "translate it into"
                )
        return TranslationRequest(text=text, **settings)


def sentence_of(told: str) -> str:
    """The detected language's line as a complaint."""
    known = ", ".join(LANGUAGES.values())
    if told.startswith("unknown"):
        return f"the language cannot be told from so short a text; choose it above ({known})"
    return f"the text {told}; {known} are"


def terms_of(rows: Any) -> tuple[tuple[str, str], ...]:
    """The glossary's table as pairs, without its blank rows.

    Raises:
        SettingError: a row with one side only.
    """
    terms = []
    for number, row in enumerate(rows or [], 1):
        term, translation = (
            str("" if cell is None else cell).strip() for cell in (*row, "", "")[:2]
        )
        if bool(term) != bool(translation):
            lacks = "translation" if term else "term"
            raise SettingError(
                f"row {number} of the glossary has no {lacks}; fill it in or clear the row"
            )
        if term:
            terms.append((term, translation))
    return tuple(terms)


def swapped(
    text: str, source: str, target: str, translation: str, detected: str | None
) -> tuple[str, str, str]:
    """Text, source and target after an exchange; the translation becomes the text.

    Raises:
        LanguageError: the source language is not known.
    """
    was = detected if source == DETECT else source
    if was is None:
        raise LanguageError("the languages cannot be exchanged until the first one is known")
    return translation or text, target, was
