"""mtgen: text, translation and pictures from one small open model on two CPU cores.

Importing this package loads nothing: torch and the weights come with `load()`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mtgen.errors import BadRequestError, MtgenError
from mtgen.requests import (
    Generation,
    ImageGeneration,
    ImageRequest,
    Message,
    Precision,
    TextRequest,
    TranslationGeneration,
    TranslationRequest,
)

# Threads of torch that wait would spin for milliseconds on the core that our own kernels need.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

if TYPE_CHECKING:
    from mtgen.marks.keys import KeyRing
    from mtgen.pipeline import Pipeline

__version__ = "0.1.0"

__all__ = [
    "BadRequestError",
    "Generation",
    "ImageGeneration",
    "ImageRequest",
    "Message",
    "MtgenError",
    "TextRequest",
    "TranslationGeneration",
    "TranslationRequest",
    "load",
]


def load(
    trunk: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    precision: Precision = "packed",
    keys: KeyRing | None = None,
    progress: bool = True,
) -> Pipeline:
    """Loads the shared model and returns the pipeline, the one door to it.

    Args:
        trunk: Folder of a Llama-family checkpoint in the Hugging Face layout, or the
            pinned GGUF file. None takes the pinned trunk, downloading it once if need be.
        weights: Folder of trained experts instead of those that come with this release; they
            are read when a task first needs them.
        precision: `"packed"` (4-bit weights, bf16 activations) or `"float32"` (reference).
        keys: Of the marks; None takes those of this machine or its environment, and makes them
            when first needed (`mtgen.marks.keys`).
        progress: Show progress bars on standard error.

    Returns:
        A `mtgen.pipeline.Pipeline`.

    Raises:
        TrunkNotFoundError: no origin could give the weights.
        CorruptedFileError: the weights given are not what they should be.
        ConfigError: the checkpoint is of another architecture.
        CacheWriteError: the converted weights could not be stored.
    """
    from mtgen.pipeline import Pipeline

    return Pipeline.load(trunk, weights=weights, precision=precision, keys=keys, progress=progress)
