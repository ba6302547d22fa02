"""The image task: a prompt becomes tokens, round after round, and tokens become a picture."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from PIL import Image
from torch import Tensor

from mtgen.engine import KVCache, LlamaRuntime
from mtgen.engine.schedule import ROUNDS
from mtgen.errors import PromptTooLongError
from mtgen.marks.codes import chosen_levels
from mtgen.model.autoencoder import Autoencoder, to_levels
from mtgen.model.image_expert import ImageExpert
from mtgen.model.picture_tokenizer import PictureTokenizer, mean_levels, to_latents
from mtgen.model.sampling import draw_seed, seeded
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.transformer import KeysValues, rotate
from mtgen.requests import (
    MAX_SEED,
    FinishReason,
    ImageGeneration,
    ImageRequest,
    ImageTimings,
)

CHOICE_TEMPERATURE = 2.0
"""How far chance may overrule certainty in which places are settled first; falls to 0."""

PREVIEWS = 4
"""Times that a picture is decoded on the way, after the first; a decoding costs half a round."""
PREVIEWS_OF_SEVERAL = 2
"""The same for each of several pictures."""


def prompt_ids(text: str, tokenizer: ChatTokenizer) -> list[int]:
    """Tokens that the trunk reads for a picture: a document of one line."""
    return [tokenizer.document_start_id, *tokenizer.encode(" ".join(text.split()) + "\n")]


def styled(request: ImageRequest) -> str:
    """The prompt with the words of its style, in the prompt's language."""
    if request.style is None:
        return request.prompt
    from mtgen.data.images.sources import STYLES
    from mtgen.model.language import guess_language

    return f"{request.prompt}, {STYLES[request.style][guess_language(request.prompt)][0]}"


def unrotated(cache: KVCache, layer: int, runtime: LlamaRuntime) -> Float[Tensor, "1 G T D"]:
    """A layer's keys of a whole cache without the rotation of their positions."""
    turns = torch.view_as_real(runtime.rotations[: cache.length, 0].conj().resolve_conj())
    keys, _ = cache.read(layer, cache.length)
    return rotate(keys.float(), turns)


@dataclass(frozen=True)
class Painters:
    """The networks that make a picture, once the trunk has read the prompt."""

    expert: ImageExpert
    """Draws tokens."""
    tokenizer: PictureTokenizer
    """Fills them in."""
    autoencoder: Autoencoder
    """Makes pixels."""


@dataclass(frozen=True)
class Prompts:
    """A prompt and its negative prompt, as the networks attend to them."""

    for_expert: list[tuple[Tensor, Tensor]]
    for_tokenizer: list[tuple[Tensor, Tensor]]
    """Of the prompt alone."""
    mask: Bool[Tensor, "2 T"]


def prompts_of(keys_values: KeysValues, mask: Bool[Tensor, "2 T"], painters: Painters) -> Prompts:
    """From what the trunk read: the prompt, then the negative prompt, which may be empty."""
    prompt = {layer: (keys[:1], values[:1]) for layer, (keys, values) in keys_values.items()}
    return Prompts(
        painters.expert.read_prompt(keys_values), painters.tokenizer.read_prompt(prompt), mask
    )


@torch.inference_mode()
def read_prompts(
    prompts: Sequence[Sequence[int]], runtime: LlamaRuntime, painters: Painters
) -> Prompts:
    """Runs the trunk over two prompts, right-padded.

    Args:
        prompts: Token ids of the prompt, and of the negative prompt.
        runtime: The trunk.
        painters: Whose layers will read them.
    """
    longest = max(map(len, prompts))
    layers = {*painters.expert.trunk_layers, *painters.tokenizer.trunk_layers}
    by_layer: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for ids in prompts:
        cache = runtime.new_cache(len(ids))
        runtime.forward(torch.tensor(ids), cache)
        for layer in layers:
            values = cache.read(layer, cache.length)[1]
            pair = unrotated(cache, layer, runtime), values.float()
            pad = (0, 0, 0, longest - len(ids))
            padded = tuple(torch.nn.functional.pad(x, pad) for x in pair)
            by_layer.setdefault(layer, []).append(padded)  # type: ignore[arg-type]
    keys_values = {
        layer: (torch.cat([k for k, _ in pairs]), torch.cat([v for _, v in pairs]))
        for layer, pairs in by_layer.items()
    }
    lengths = torch.tensor([len(ids) for ids in prompts])
    return prompts_of(keys_values, torch.arange(longest) < lengths[:, None], painters)


def settled_after(step: int, num_steps: int, num_places: int) -> int:
    """Places that are settled after round `step` of `num_steps`, from 1 (MaskGIT, section 3.3)."""
    hidden = math.cos(math.pi / 2 * step / num_steps)
    return max(step, min(num_places, round(num_places * (1 - hidden))))


@torch.inference_mode()
def draw(
    expert: ImageExpert,
    prompts: Prompts,
    generators: Sequence[torch.Generator],
    *,
    num_inference_steps: int,
    guidance_scale: float,
    temperature: float,
) -> Iterator[Int64[Tensor, "N P K"]]:
    """Draws tokens; yields all of them after every round, the unsettled ones as guessed so far.

    Args:
        expert: Predicts the codes.
        prompts: What it attends to.
        generators: Source of all randomness of each of the N pictures.
        num_inference_steps: Rounds, at most one for each place.
        guidance_scale: Scores are `negative + guidance_scale * (prompt - negative)`
            (arXiv:2207.12598).
        temperature: Divides the scores; 0 takes the likeliest.
    """
    n, config = len(generators), expert.config
    num_places, num_codes = config.num_places, config.codes_per_place
    num_steps = min(num_inference_steps, num_places)
    # each picture with the prompt, then each with the negative prompt
    reads = [(k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)) for k, v in prompts.for_expert]
    mask = prompts.mask.repeat_interleave(n, 0)
    device = mask.device
    codes = torch.zeros(n, num_places, num_codes, dtype=torch.int64, device=device)
    known = torch.zeros(n, num_places, dtype=torch.bool, device=device)
    rows = torch.arange(n, device=device)[:, None]
    for step in range(1, num_steps + 1):
        noise = torch.stack(
            [torch.rand(num_places, num_codes + 1, generator=g) for g in generators]
        ).to(device)  # drawn on the CPU: a seed gives the same numbers everywhere
        both = expert.inputs(codes.repeat(2, 1, 1), known.repeat(2, 1))
        states = expert.states(both, reads, mask)
        hidden = (~known).nonzero().view(n, -1, 2)[..., 1]  # N U
        start = expert.head.start(states.view(2, n, num_places, -1)[:, rows, hidden])
        u = hidden.shape[1]
        start = start.view(2 * n * u, -1)
        drawn = torch.zeros(n * u, 0, dtype=torch.int64, device=device)
        certainty = torch.zeros(n * u, device=device)
        for code in range(num_codes):
            prompted, negative = expert.head.step(start, drawn.repeat(2, 1)).chunk(2)
            scores = (negative + guidance_scale * (prompted - negative)).log_softmax(-1)
            chosen = choose(scores, temperature, noise[rows, hidden, code].flatten())
            certainty += scores.gather(1, chosen[:, None])[:, 0]
            drawn = torch.cat([drawn, chosen[:, None]], 1)
        codes[rows, hidden] = drawn.view(n, u, num_codes)
        chance = -torch.log(-torch.log(noise[rows, hidden, num_codes].clamp(1e-9, 1 - 1e-9)))
        certainty = certainty.view(n, u) / num_codes
        certainty += CHOICE_TEMPERATURE * temperature * (1 - step / num_steps) * chance
        num_new = settled_after(step, num_steps, num_places) - (num_places - u)
        settled = hidden.gather(1, certainty.topk(num_new, dim=1).indices)
        known[rows, settled] = True
        yield codes.clone()


def choose(
    scores: Float[Tensor, "N V"], temperature: float, uniform: Float[Tensor, " N"]
) -> Int64[Tensor, " N"]:
    """One code a row, by inverting the distribution at an even draw from 0..1."""
    if temperature == 0:
        return scores.argmax(-1)
    totals = (scores / temperature).softmax(-1).cumsum(-1)
    return torch.searchsorted(totals, (uniform * totals[:, -1])[:, None])[:, 0].clamp(
        max=scores.shape[1] - 1
    )


@dataclass(frozen=True)
class ImagePreview:
    """The pictures so far."""

    step: int
    """Rounds drawn, from 1."""
    num_steps: int
    images: tuple[Image.Image, ...]
    """As decoded last, not in every round."""
    seconds_left: float


class ImageStream:
    """Iterates over previews while pictures are drawn.

    `stop()`, from any thread, ends it after the round that runs. Afterwards `generation` holds
    the result; a stream that is dropped half-way does no further work.
    """

    def __init__(
        self,
        request: ImageRequest,
        runtime: LlamaRuntime,
        tokenizer: ChatTokenizer,
        painters: Painters,
        model: str,
        stop: threading.Event | None = None,
        mark: Callable[[Image.Image], Image.Image] | None = None,
        secret: bytes | None = None,
        marks: tuple[str, ...] = (),
    ) -> None:
        """Makes tokens of the prompts.

        Args:
            request: The prompt with its settings.
            runtime: The trunk.
            tokenizer: Of the trunk.
            painters: What draws.
            model: Name for the `ImageGeneration`.
            stop: See above.
            mark: Marks a picture once it is finished or cancelled; previews before are not marked.
            secret: Of the key that chooses the codes of the same pictures.
            marks: What they are marked with, for the `ImageGeneration`.

        Raises:
            PromptTooLongError: the model cannot read so long a prompt.
        """
        self._started = time.perf_counter()
        self._mark, self._secret, self._marks = mark, secret, marks
        self.request = dataclasses.replace(
            request, seed=draw_seed() if request.seed is None else request.seed
        )
        self.prompts = [
            prompt_ids(text, tokenizer) for text in (styled(request), request.negative_prompt)
        ]
        room = runtime.config.context_length
        if (longest := max(map(len, self.prompts))) > room:
            raise PromptTooLongError(
                f"the prompt has {longest:,} tokens and the model reads {room:,}; shorten it"
            )
        self._runtime, self._painters = runtime, painters
        self._model = model
        self._stopped = stop or threading.Event()
        self._generation: ImageGeneration | None = None
        self._previews = self._run()

    def stop(self) -> None:
        """Asks the stream to end; it does so before the next round."""
        self._stopped.set()

    def __iter__(self) -> Iterator[ImagePreview]:
        return self

    def __next__(self) -> ImagePreview:
        return next(self._previews)

    @property
    def generation(self) -> ImageGeneration:
        """The result; runs the stream to its end if it is not there yet."""
        for _ in self._previews:
            pass
        if self._generation is None:
            raise RuntimeError("the stream was closed by an error before it had a result")
        return self._generation

    def _finished(
        self, tokens: Int64[Tensor, "N P K"], prompts: Prompts
    ) -> tuple[Image.Image, ...]:
        """Pictures as they are given out: marked."""
        images = to_images(tokens, prompts, self._painters, self.request.size_px, self._secret)
        return images if self._mark is None else tuple(map(self._mark, images))

    def _run(self) -> Iterator[ImagePreview]:
        request = self.request
        assert request.seed is not None
        painters = self._painters
        prompts = read_prompts(self.prompts, self._runtime, painters)
        prompt_s = time.perf_counter() - self._started
        generators = [
            seeded((request.seed + i) % (MAX_SEED + 1)) for i in range(request.num_images)
        ]
        num_steps = min(request.num_inference_steps, painters.expert.config.num_places)
        rounds = draw(
            painters.expert, prompts, generators,
            num_inference_steps=num_steps,
            guidance_scale=request.guidance_scale, temperature=request.temperature,
        )  # fmt: skip
        images: tuple[Image.Image, ...] = ()
        tokens = torch.empty(0, dtype=torch.int64)
        decoded_every = -(-num_steps // (PREVIEWS if len(generators) == 1 else PREVIEWS_OF_SEVERAL))
        finish_reason: FinishReason = "stop"
        first_preview_s, step, began = 0.0, 0, time.perf_counter()
        while step < num_steps:
            if self._stopped.is_set():
                finish_reason = "cancelled"
                if step:  # what was drawn since the last preview
                    images = self._finished(tokens, prompts)
                break
            with self._runtime.turn.of(ROUNDS):
                tokens = next(rounds)
                step += 1
                if step == num_steps:
                    images = self._finished(tokens, prompts)
                elif step == 1 or step % decoded_every == 0:
                    images = to_images(tokens, prompts, painters, request.size_px)
            if step == 1:
                first_preview_s = time.perf_counter() - self._started
            left = (time.perf_counter() - began) / step * (num_steps - step)
            yield ImagePreview(step, num_steps, images, left)
        self._generation = ImageGeneration(
            images=images,
            request=request,
            finish_reason=finish_reason,
            timings=ImageTimings(
                num_prompt_tokens=len(self.prompts[0]), num_steps=step, prompt_s=prompt_s,
                first_preview_s=first_preview_s, total_s=time.perf_counter() - self._started,
            ),
            model=self._model,
            marks=self._marks if images else (),
        )  # fmt: skip


@torch.inference_mode()
def to_pixels(
    tokens: Int64[Tensor, "N P K"], prompts: Prompts, painters: Painters,
    secret: bytes | None = None,
) -> Float[Tensor, "N 3 H W"]:  # fmt: skip
    """Pictures of drawn tokens, in -1..1; each by itself, as sums depend on what is beside them.

    Args:
        tokens: Drawn.
        prompts: What the tokenizer attends to.
        painters: The networks.
        secret: Of the key that chooses where the tokens leave codes open; None draws their means.
    """
    tokenizer, pixels = painters.tokenizer, []
    for one in tokens.split(1):
        scores = tokenizer.scores(to_levels(one), prompts.for_tokenizer, prompts.mask[:1])
        levels = mean_levels(scores) if secret is None else chosen_levels(scores, secret)
        pixels.append(painters.autoencoder.render(to_latents(levels, tokenizer.config)))
    return torch.cat(pixels)


@torch.inference_mode()
def to_images(
    tokens: Int64[Tensor, "N P K"], prompts: Prompts, painters: Painters, size_px: int,
    secret: bytes | None = None,
) -> tuple[Image.Image, ...]:  # fmt: skip
    """Pictures of drawn tokens, RGB; see `to_pixels`."""
    pixels = to_pixels(tokens, prompts, painters, secret)
    arrays = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    images = [Image.fromarray(array.copy()) for array in arrays]
    return tuple(
        image if image.size == (size_px, size_px)
        else image.resize((size_px, size_px), Image.Resampling.LANCZOS)
        for image in images
    )  # fmt: skip
