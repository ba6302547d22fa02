"""Sheets of samples, drawn from fixed prompts and seeds so that they can be compared."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from PIL import Image

from mtgen.data.images.sheets import sheet
from mtgen.model.autoencoder import Autoencoder
from mtgen.model.sampling import seeded
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.tasks.image import draw, prompt_ids, to_images
from mtgen.train.experts import Experts

PROMPTS = (
    "a red apple",
    "a cat, flat style",
    "a house, 3D",
    "eine Rakete",
    "un poisson bleu",
    "una pizza",
    "a robot, modern flat style",
    "a smiling face",
    "three red apples on a blue background",
    "two green cars",
    "a dog to the left of a tree",
    "a yellow star and a purple heart",
    "vier Ballons auf weißem Grund",
    "une voiture rouge à côté d'un vélo",
    "a butterfly",
    "a firefighter",
)


@torch.no_grad()
def draw_samples(
    experts: Experts,
    autoencoder: Autoencoder,
    tokenizer: ChatTokenizer,
    prompts: tuple[str, ...] = PROMPTS,
    *,
    num_inference_steps: int = 16,
    guidance_scale: float = 3.0,
) -> Image.Image:
    """One picture of each prompt, with its seed equal to its place."""
    expert = experts.image
    assert expert is not None
    device = experts.trunk.embedding.device
    cells: list[tuple[np.ndarray, str]] = []
    with torch.autocast(
        device.type, torch.bfloat16, enabled=experts.trunk.embedding.dtype == torch.bfloat16
    ):
        for place, text in enumerate(prompts):
            ids = [prompt_ids(text, tokenizer), prompt_ids("", tokenizer)]
            keys_values, mask = experts.read_prompts(ids)
            rounds = draw(
                expert, (expert.read_prompt(keys_values), mask), [seeded(place)],
                num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
                temperature=1.0,
            )  # fmt: skip
            image = to_images(deque(rounds, maxlen=1)[0], expert, autoencoder, 256)[0]
            cells.append((np.asarray(image), text))
    return sheet(cells)
