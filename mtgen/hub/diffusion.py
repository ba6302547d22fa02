"""The image task as users of `diffusers` know it.

from mtgen.hub.diffusion import ImagePipeline

pipe = ImagePipeline.from_pretrained()
pipe("a red apple", generator=torch.Generator().manual_seed(1)).images[0].save("apple.png")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from jaxtyping import Int64
from torch import Tensor

import mtgen
from mtgen.errors import SettingError
from mtgen.marks.keys import CODES
from mtgen.pipeline import Pipeline
from mtgen.requests import ImageRequest
from mtgen.tasks.image import Prompts, draw, prompt_ids, read_prompts, to_images, to_pixels

OutputType = Literal["pil", "np", "pt", "latent"]

Callback = Callable[["ImagePipeline", int, int, dict[str, Tensor]], object]
"""Called after each step with the pipeline, the step, the steps that are left, and `tokens`."""


class ImagePipeline(DiffusionPipeline):
    """Draws with the shared model; `generator` decides everything that is random.

    A generator seeded with `s` draws the picture that `mtgen.load().image(prompt, seed=s)` draws.

    Args:
        pipeline: The loaded model.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.register_to_config()
        self._mtgen = pipeline
        self.painters = pipeline.painters()
        self._interrupt = False

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, weights: str | PathLike[str] | None = None, *, trunk: str | Path | None = None
    ) -> ImagePipeline:
        """Loads the trunk and the experts.

        Args:
            weights: Folder of trained experts; those of this release unless given.
            trunk: See `mtgen.load`; errors as there.
        """
        folder = None if weights is None else Path(weights)
        return cls(mtgen.load(trunk, weights=folder, progress=False))

    @property
    def interrupt(self) -> bool:
        """Whether a callback has asked to stop, by `pipe._interrupt = True` as everywhere."""
        return self._interrupt

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str | Sequence[str],
        negative_prompt: str | Sequence[str] | None = None,
        num_inference_steps: int = ImageRequest.num_inference_steps,
        guidance_scale: float = ImageRequest.guidance_scale,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        temperature: float = ImageRequest.temperature,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("tokens",),
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draws `num_images_per_prompt` pictures of each prompt, prompt by prompt.

        Args:
            prompt: One or several.
            negative_prompt: What not to show; one for all prompts, or one for each.
            num_inference_steps: Rounds, 1..64.
            guidance_scale: How much the prompt counts, 0..20.
            num_images_per_prompt: Of each prompt, at least 1.
            generator: On the CPU; one for all pictures in turn, or one for each picture.
            temperature: Divides the scores of tokens.
            output_type: `pil` images, which are marked as machine-made; or what is not: `np`
                (N, 256, 256, 3) in 0..1, `pt` (N, 3, 256, 256) in 0..1, or `latent`: the tokens,
                (N, 64, 2).
            return_dict: `ImagePipelineOutput`, else a tuple of the pictures.
            callback_on_step_end: Sees the tokens after each step; may set `pipe._interrupt`.
            callback_on_step_end_tensor_inputs: What the callback gets; only `tokens` exists.

        Raises:
            BadRequestError: a prompt or setting that cannot be drawn.
        """
        if output_type not in ("pil", "np", "pt", "latent"):
            raise SettingError(
                f"output_type must be 'pil', 'np', 'pt' or 'latent', got {output_type!r}"
            )
        if unknown := set(callback_on_step_end_tensor_inputs) - {"tokens"}:
            raise SettingError(f"a callback can be given 'tokens' alone, not {sorted(unknown)}")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        negatives = negative_prompt or ""
        negatives = [negatives] * len(prompts) if isinstance(negatives, str) else list(negatives)
        if len(negatives) != len(prompts):
            raise SettingError(
                f"{len(negatives)} negative prompts for {len(prompts)} prompts; "
                "give one, or as many"
            )
        for text, negative in zip(prompts, negatives, strict=True):
            ImageRequest(
                prompt=text, negative_prompt=negative, num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale, temperature=temperature,
            )  # fmt: skip
        if num_images_per_prompt < 1:
            raise SettingError(
                f"num_images_per_prompt must be at least 1, got {num_images_per_prompt}"
            )
        generators = self._generators(generator, len(prompts) * num_images_per_prompt)
        self._interrupt = False
        runtime, tokenizer = self._mtgen.runtime, self._mtgen.tokenizer
        num_steps = min(num_inference_steps, self.painters.expert.config.num_places)
        drawn: list[Any] = []
        with self.progress_bar(total=num_steps * len(prompts)) as bar:  # type: ignore[call-arg]
            for number, (text, negative) in enumerate(zip(prompts, negatives, strict=True)):
                ids = [prompt_ids(words, tokenizer) for words in (text, negative)]
                read = read_prompts(ids, runtime, self.painters)
                first = number * num_images_per_prompt
                tokens = torch.empty(0)
                for step, tokens in enumerate(
                    draw(
                        self.painters.expert, read,
                        generators[first : first + num_images_per_prompt],
                        num_inference_steps=num_steps, guidance_scale=guidance_scale,
                        temperature=temperature,
                    )
                ):  # fmt: skip
                    bar.update()
                    if callback_on_step_end is not None:
                        given = {name: tokens for name in callback_on_step_end_tensor_inputs}
                        callback_on_step_end(self, step, num_steps - step - 1, given)
                    if self._interrupt:
                        break
                drawn.append(self._output(tokens, read, output_type))
                if self._interrupt:
                    break
        images = sum(drawn, []) if output_type == "pil" else torch.cat(drawn)
        if output_type == "np":
            images = images.numpy()  # type: ignore[union-attr]
        return ImagePipelineOutput(images=images) if return_dict else (images,)  # type: ignore[arg-type]

    @staticmethod
    def _generators(
        given: torch.Generator | Sequence[torch.Generator] | None, count: int
    ) -> list[torch.Generator]:
        """One generator for each picture."""
        if given is None:
            given = torch.Generator()
            given.seed()
        generators = [given] * count if isinstance(given, torch.Generator) else list(given)
        if len(generators) != count:
            raise SettingError(
                f"{len(generators)} generators for {count} pictures; give one, or as many"
            )
        if any(generator.device.type != "cpu" for generator in generators):
            raise SettingError(
                "generators must be on the CPU: a seed then draws the same everywhere"
            )
        return generators

    def _output(
        self, tokens: Int64[Tensor, "N P K"], prompts: Prompts, kind: OutputType
    ) -> list[Any] | Tensor:
        """Pictures of one prompt."""
        if kind == "latent":
            return tokens
        if kind == "pil":
            secret = self._mtgen.keys.current.derived(CODES)
            images = to_images(tokens, prompts, self.painters, 256, secret)
            return [self._mtgen.mark_image(image) for image in images]
        pixels = to_pixels(tokens, prompts, self.painters) / 2 + 0.5
        return pixels if kind == "pt" else pixels.permute(0, 2, 3, 1)
