"""Which of our four languages a text is in."""

from __future__ import annotations

from functools import cache

LANGS = ("en", "fr", "de", "es")


@cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(LANGS))
    return identifier


def guess_language(text: str) -> str:
    """The likeliest of LANGS; short texts are often guessed wrong."""
    return _identifier().classify(text)[0]
