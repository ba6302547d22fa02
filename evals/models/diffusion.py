"""Pipelines of `diffusers` that draw a prompt."""

from __future__ import annotations

import dataclasses
import inspect
import threading
import time
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from evals.models.base import Foreign, files_sha256, seed_of
from evals.models.causal import first_line
from mtgen.errors import ConfigError
from mtgen.requests import MAX_SEED, UNMARKED, ImageGeneration, ImageRequest, ImageTimings


class Diffusion(Foreign):
    """Drawn with the pipeline's own defaults, but for prompt, size and seed.

    Steps and guidance of our requests mean other things there, so they are not passed on.

    Args:
        folder: In the layout of `save_pretrained`, with `model_index.json`.
        name: For results.

    Raises:
        ConfigError: `diffusers` cannot load it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name, ("image",))
        self.folder = folder
        try:
            self.pipe: Any = DiffusionPipeline.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, AttributeError, KeyError, ImportError) as error:
            raise ConfigError(f"diffusers cannot load {name}: {first_line(error)}") from None
        self.pipe.set_progress_bar_config(disable=True)
        self.takes = inspect.signature(self.pipe.__call__).parameters

    def weights_sha256(self) -> str:
        return files_sha256(self.folder)

    def image(
        self, request: ImageRequest, *, stop: threading.Event | None = None
    ) -> ImageGeneration:
        """Pictures; it cannot be stopped, as not every pipeline can."""
        started, seed = time.perf_counter(), seed_of(request)
        images = []
        for number in range(request.num_images):
            generator = torch.Generator().manual_seed((seed + number) % (MAX_SEED + 1))
            given: dict[str, Any] = {"generator": generator}
            if "prompt" in self.takes:
                given["prompt"] = request.prompt
            if request.negative_prompt and "negative_prompt" in self.takes:
                given["negative_prompt"] = request.negative_prompt
            images.append(self.pipe(**given).images[0].convert("RGB"))
        seconds = time.perf_counter() - started
        return ImageGeneration(
            images=tuple(images), request=dataclasses.replace(request, seed=seed, mark=UNMARKED),
            finish_reason="stop", model=self.model,
            timings=ImageTimings(
                num_prompt_tokens=0, num_steps=0, prompt_s=0.0, first_preview_s=seconds,
                total_s=seconds,
            ),
        )  # fmt: skip
