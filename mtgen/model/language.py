"""Which of our four languages a text is in."""

from __future__ import annotations

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
