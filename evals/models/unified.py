"""One network that writes and draws: Janus, as `transformers` has it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import (
    AutoProcessor,
    JanusForConditionalGeneration,
    LogitsProcessor,
    LogitsProcessorList,
)

from evals.models.base import seed_of
from evals.models.causal import Causal
from mtgen.requests import (
    MAX_SEED,
    UNMARKED,
    ImageGeneration,
    ImageRequest,
    ImageTimings,
    Message,
)

GUIDANCE = 5.0
"""The published scale (arXiv:2410.13848), which `transformers` falls back on too."""


class Unified(Causal):
    """Texts, likelihoods and translations as any causal model; pictures by its own tokens.

    Steps and guidance of our requests mean other things there, so they are not passed on.

    Args:
        folder: In the layout of `save_pretrained`, with its processor.
        name: For results.

    Raises:
        ConfigError: `transformers` cannot load it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.kinds |= {"image"}

    def load(self) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
        self.tokenizer = self.processor.tokenizer
        self.network = JanusForConditionalGeneration.from_pretrained(
            self.folder, local_files_only=True, dtype=torch.float32
        ).eval()

    def chat(self, messages: Sequence[Message]) -> str:
        """A conversation as the processor's template has it; bare where there is none."""
        if not self.processor.chat_template:
            return "\n".join(m.content for m in messages)
        said = [
            {"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in messages
        ]
        return self.processor.apply_chat_template(said, add_generation_prompt=True)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return self.tokenizer.encode(self.chat(messages))

    def as_image(self, pixels: Float[Tensor, "H W 3"]) -> Image.Image:
        """Pixels as the network gives them, normalised as the processor normalises its inputs.

        Its own `postprocess` takes height for channels where it runs without torchvision
        (transformers 5.23).
        """
        how = self.processor.image_processor
        mean, std = torch.tensor(how.image_mean), torch.tensor(how.image_std)
        levels = (pixels.float() * std + mean) / how.rescale_factor
        return Image.fromarray(levels.round().clamp(0, 255).byte().numpy())

    @torch.inference_mode()
    def image(
        self, request: ImageRequest, *, stop: threading.Event | None = None
    ) -> ImageGeneration:
        started, seed = time.perf_counter(), seed_of(request)
        asked = self.chat([Message(role="user", content=request.prompt)])
        given = self.processor(text=asked, generation_mode="image", return_tensors="pt")
        images = []
        for number in range(request.num_images):
            torch.manual_seed((seed + number) % (MAX_SEED + 1))
            try:
                tokens = self.network.generate(
                    **given, generation_mode="image", do_sample=True, guidance_scale=GUIDANCE,
                    logits_processor=LogitsProcessorList([Ended(stop)]),
                )  # fmt: skip
            except InterruptedError:
                break
            images.append(self.as_image(self.network.decode_image_tokens(tokens)[0]))
        seconds = time.perf_counter() - started
        return ImageGeneration(
            images=tuple(images), request=dataclasses.replace(request, seed=seed, mark=UNMARKED),
            finish_reason="stop" if len(images) == request.num_images else "cancelled",
            model=self.model,
            timings=ImageTimings(
                num_prompt_tokens=given["input_ids"].shape[1], num_steps=0, prompt_s=0.0,
                first_preview_s=seconds, total_s=seconds,
            ),
        )  # fmt: skip


class Ended(LogitsProcessor):
    """Leaves the drawing of tokens, which has no stopping criteria, once an event is set."""

    def __init__(self, stop: threading.Event | None) -> None:
        self.stop = stop

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        if self.stop is not None and self.stop.is_set():
            raise InterruptedError
        return scores
