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
from mtgen.tasks.image import Painters, draw, prompt_ids, prompts_of, to_images
from mtgen.train.experts import Experts, PictureBatch

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
    assert experts.image is not None
    assert experts.picture_tokenizer is not None
    painters = Painters(experts.image, experts.picture_tokenizer, autoencoder)
    device = experts.trunk.embedding.device
    cells: list[tuple[np.ndarray, str]] = []
    with torch.autocast(
        device.type, torch.bfloat16, enabled=experts.trunk.embedding.dtype == torch.bfloat16
    ):
        for place, text in enumerate(prompts):
            ids = [prompt_ids(text, tokenizer), prompt_ids("", tokenizer)]
            keys_values, mask = experts.read_prompts(ids)
            read = prompts_of(keys_values, mask, painters)
            rounds = draw(
                experts.image, read, [seeded(place)], num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale, temperature=1.0,
            )  # fmt: skip
            image = to_images(deque(rounds, maxlen=1)[0], read, painters, 256)[0]
            cells.append((np.asarray(image), text))
    return sheet(cells)


@torch.no_grad()
def draw_pairs(
    experts: Experts, autoencoder: Autoencoder, batch: PictureBatch, count: int = 12
) -> Image.Image:
    """Pictures as the autoencoder draws their own codes, and below as it draws their tokens."""
    tokenizer = experts.picture_tokenizer
    assert tokenizer is not None
    cells = batch.cells[:count]
    with torch.autocast(
        cells.device.type, torch.bfloat16, enabled=experts.trunk.embedding.dtype == torch.bfloat16
    ):
        read = [(k[:count], v[:count]) for k, v in tokenizer.read_prompt(batch.keys_values)]
        latents = tokenizer.decode(tokenizer.encode(cells), read, batch.prompt_mask[:count])
        own, again = autoencoder.decode(cells), autoencoder.render(latents)
    shown = torch.cat([own, again]).add(1).mul(127.5).round().to(torch.uint8)
    errors = (own - again).square().mean((1, 2, 3)) / 4
    names = ["codes"] * len(cells) + [f"tokens: {-10 * e.log10():.1f} dB" for e in errors]
    pictures = shown.permute(0, 2, 3, 1).cpu().numpy()
    return sheet(list(zip(pictures, names, strict=True)), columns=len(cells))
