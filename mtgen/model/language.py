"""Which of our four languages a text is in, and its letters without accents."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from mtgen.errors import LanguageError
from mtgen.requests import LANGUAGES

LANGS = tuple(LANGUAGES)
NOT_WORDS = re.compile(r"https?://\S+|\S+@\S+|<[^>]*>|[\d_#*`{}|<>=/\\]+")
"""What says nothing of a language."""
DETECTED_CHARS = 5_000
"""Of a text are looked at."""
MIN_LETTERS = 4
MIN_CONFIDENCE = 0.55
"""Below these the language cannot be told."""


@lru_cache(maxsize=2)
def identifier(ours_only: bool):
    """py3langid's model, over our four languages or all of its own."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    if ours_only:
        model.set_languages(list(LANGS))
    return model


def guess_language(text: str) -> str:
    """The likeliest of LANGS; short texts are often guessed wrong."""
    return identifier(ours_only=True).classify(text)[0]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What language a text seems to be in."""

    language: str | None
    """One of LANGS; None where it cannot be told, or is another."""
    confidence: float
    """Probability of the likeliest of LANGS among them, 0..1; 0 where it is another language."""
    other: str | None = None
    """ISO 639 code of that other language."""
    candidates: tuple[tuple[str, float], ...] = ()
    """LANGS with their probabilities among themselves, likeliest first."""


def detect_language(text: str) -> Detection:
    """The language of a text, or that it cannot be told.

    Found right for all 2,400 sentences of the everyday set; single words often cannot be told.
    """
    words = NOT_WORDS.sub(" ", text)[:DETECTED_CHARS]
    ranked = dict(identifier(ours_only=False).rank(words))
    total = sum(ranked[lang] for lang in LANGS)
    ours = sorted(((lang, float(ranked[lang] / total)) for lang in LANGS), key=lambda x: -x[1])
    first = next(iter(ranked))
    if first not in LANGS and ranked[first] > 0.5 and total < 0.2:
        return Detection(language=None, confidence=0.0, other=first, candidates=tuple(ours))
    letters = sum(char.isalpha() for char in words)
    language, confidence = ours[0]
    known = letters >= MIN_LETTERS and confidence >= MIN_CONFIDENCE
    return Detection(
        language=language if known else None, confidence=confidence, candidates=tuple(ours)
    )


def refuse_other(found: Detection) -> None:
    """Refuses a text in a language that is not ours.

    Raises:
        LanguageError: so it is.
    """
    if found.other:
        raise LanguageError(
            f"the text seems to be in another language ({found.other}); "
            f"{', '.join(LANGUAGES.values())} are translated"
        )


def unaccented(text: str) -> str:
    """Lower case, without accents: `Äpfel` is `apfel`."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in parts if not unicodedata.combining(char))
