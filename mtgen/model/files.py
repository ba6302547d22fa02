"""Where trained experts lie, and what their files say; without torch, as the page needs it."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

WEIGHTS = Path(__file__).parent.parent / "weights"
"""Where the experts of this release lie."""
AUTOENCODER = "autoencoder.safetensors"
PICTURE_TOKENIZER = "picture_tokenizer.safetensors"
IMAGE_EXPERT = "image_expert.safetensors"
TRANSLATION_EXPERT = "translation_expert.safetensors"
TARGET_VOCABULARY = "target_vocabulary.safetensors"
"""Which tokens translations into some languages need; see `mtgen.data.vocabulary`."""
TRANSLATION_QUALITY = "translation_quality.json"
"""What quality a sentence of some confidence has had; see `evals.translation_quality`."""


def trained_styles(path: Path = WEIGHTS / IMAGE_EXPERT) -> tuple[str, ...]:
    """Styles that an image expert has learnt; none where its file does not say, or is missing."""
    try:
        with safe_open(path, "np") as file:
            return tuple(json.loads((file.metadata() or {}).get("styles", "[]")))
    except (SafetensorError, OSError, ValueError):
        return ()
