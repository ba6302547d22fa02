"""Which of our four languages a text is in, and its letters without accents."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

LANGS = ("en", "fr", "de", "es")


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


def unaccented(text: str) -> str:
    """Lower case, without accents: `Äpfel` is `apfel`."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in parts if not unicodedata.combining(char))
