"""All tasks' experts beside the trunk, and their losses under one objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mtgen.marks.gumbel import uniforms
from mtgen.model.image_expert import ImageExpert, mask_shares
from mtgen.model.picture_tokenizer import PictureTokenizer
from mtgen.model.transformer import KeysValues, LowRankExpert, TrunkModel
from mtgen.train.config import TrainConfig
from mtgen.train.streams import TokenBatch

PROMPTS_AT_ONCE = {"cpu": 16, "cuda": 256}
"""Of like length, through the trunk: a GPU needs many to have enough to do."""


@dataclass
class PictureBatch:
    """Pictures as the image expert learns them: coded, their prompts read by the trunk."""

    cells: UInt8[Tensor, "B h w S"]
    """The autoencoder's codes."""
    tokens: Int64[Tensor, "B P K"] | None
    """What the tokenizer makes of them; None while it is trained."""
    keys_values: KeysValues
    prompt_mask: Bool[Tensor, "B T"]
    first: int
    """Number of the first picture in the whole stream; masks are drawn by number."""


@dataclass
class Losses:
    """Sums of losses in nats, and what they are sums over, by task."""

    sums: dict[str, Tensor]
    counts: dict[str, Tensor]


def numbered_draws(
    seed: Sequence[int], numbers: Int64[np.ndarray, " B"], columns: int
) -> Float64[np.ndarray, "B columns"]:
    """Even random numbers in 0..1, a row for each number, whatever else is drawn beside it."""
    key = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    return uniforms(key, numbers[:, None] * columns + np.arange(columns))


def summed_cross_entropy(
    scores: Float[Tensor, "N V"], targets: Int64[Tensor, " N"], smoothing: float
) -> Float[Tensor, ""]:
    """Sum of the cross-entropies in nats, label-smoothed (arXiv:1512.00567, section 7)."""
    return F.cross_entropy(scores.float(), targets, reduction="sum", label_smoothing=smoothing)


class Experts(nn.Module):
    """What is trained, with the trunk that it stands on.

    Args:
        trunk: The shared trunk.
        config: Of the run; its tasks decide which experts there are.
        picture_tokenizer: Trained, for the image expert; made here where it is to be trained.
    """

    def __init__(
        self,
        trunk: TrunkModel,
        config: TrainConfig,
        picture_tokenizer: PictureTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.trunk = trunk
        self.picture_tokenizer = picture_tokenizer
        if config.tokens_weight:
            self.picture_tokenizer = PictureTokenizer(config.tokens, trunk.config)
            if config.decoder_only:
                self.picture_tokenizer.freeze_encoder()
        elif picture_tokenizer is not None:
            picture_tokenizer.requires_grad_(False)
        self.image = ImageExpert(config.image, trunk.config) if config.image_weight else None
        self.translation = (
            LowRankExpert(config.low_rank, trunk.config) if config.translate_weight else None
        )
        self.cross_entropy = summed_cross_entropy
        self.trunk.requires_grad_(config.unfreeze)
        if config.unfreeze and not (config.text_weight or config.translate_weight):
            network = self.image or self.picture_tokenizer
            assert network is not None
            self._freeze_after(max(network.trunk_layers))

    def compile_layers(self) -> None:
        """Compiles what is trained and what gradients pass through; batches differ in length."""
        layers: list[nn.Module] = []
        for network in (self.image, self.picture_tokenizer if self.config.tokens_weight else None):
            if network is not None:
                layers += [*network.blocks, network.head]
        on_gpu = self.trunk.embedding.is_cuda  # where launching what prompts need takes longest
        if self.config.translate_weight or self.config.text_weight or on_gpu:
            layers += self.trunk.layers
            self.cross_entropy = torch.compile(summed_cross_entropy, dynamic=True)
        for layer in layers:
            layer.compile(dynamic=True)

    def _freeze_after(self, last: int) -> None:
        """Freezes what nothing reads: all that comes after a layer's keys and values."""
        trunk = self.trunk
        trunk.norm.requires_grad_(False)
        if trunk.head is not None:
            trunk.head.requires_grad_(False)
        for name, parameter in trunk.layers[last].named_parameters():
            parameter.requires_grad_(name.startswith(("attn_norm", "qkv")))
        for layer in trunk.layers[last + 1 :]:
            layer.requires_grad_(False)

    @property
    def picture_layers(self) -> set[int]:
        """Layers of the trunk that the picture's networks read."""
        networks = [
            network for network in (self.picture_tokenizer, self.image) if network is not None
        ]
        return {layer for network in networks for layer in network.trunk_layers}

    def read_prompts(self, sequences: list[list[int]]) -> tuple[KeysValues, Tensor]:
        """The trunk's keys and values of prompts, right-padded, and which tokens are real.

        Prompts of like length are read together: most are a third as long as the longest.
        """
        device, layers = self.trunk.embedding.device, self.picture_layers
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        longest = int(lengths.max())
        order = lengths.argsort(stable=True)
        parts: list[KeysValues] = []
        for rows in order.split(PROMPTS_AT_ONCE.get(device.type, 16)):
            ids = pad_sequence([torch.tensor(sequences[row]) for row in rows.tolist()], True)
            parts.append(
                self.trunk(
                    ids.to(device, non_blocking=True), collect=layers, stop_after=max(layers)
                ).keys_values
            )
        back = order.argsort().to(device, non_blocking=True)

        def whole(layer: int, place: int) -> Tensor:
            tensors = [part[layer][place] for part in parts]
            padded = [F.pad(x, (0, 0, 0, longest - x.shape[2])) for x in tensors]
            return torch.cat(padded)[back]

        keys_values = {layer: (whole(layer, 0), whole(layer, 1)) for layer in layers}
        mask = torch.arange(longest) < lengths[:, None]
        return keys_values, mask.to(device, non_blocking=True)

    def forward(
        self,
        pictures: PictureBatch | None,
        prompts: list[list[int]] | None,
        pairs: TokenBatch | None,
        text: TokenBatch | None,
        step: int,
    ) -> Losses:
        """Losses of one step.

        Args:
            pictures: For the image task.
            prompts: Their token ids, where the trunk learns too and must read them again.
            pairs: For translation.
            text: For plain text.
            step: Number of the step; random masks depend on it and on the picture alone.
        """
        sums, counts = {}, {}
        if pictures is not None:
            losses = self.picture_losses(pictures, prompts, step)
            task = "image" if self.config.image_weight else "tokens"
            sums[task] = losses.sum()
            counts[task] = losses.new_full((), losses.numel())
        if pairs is not None:
            sums["translate"], counts["translate"] = self.token_loss(
                pairs, self.translation, self.config.label_smoothing
            )
        if text is not None:
            sums["text"], counts["text"] = self.token_loss(text, None, 0.0)
        return Losses(sums, counts)

    def picture_losses(
        self, pictures: PictureBatch, prompts: list[list[int]] | None, step: int
    ) -> Float[Tensor, " M"]:
        """Losses of the image expert, or of the tokenizer, place by place."""
        keys_values, mask = pictures.keys_values, pictures.prompt_mask
        if prompts is not None:
            keys_values, mask = self.read_prompts(prompts)
        if self.config.image_weight:
            assert self.image is not None
            assert pictures.tokens is not None
            known = self.known_places(pictures, step)
            read = self.image.read_prompt(keys_values)
            return self.image.loss(pictures.tokens, read, mask, known)
        assert self.picture_tokenizer is not None
        read = self.picture_tokenizer.read_prompt(keys_values)
        keep = self.kept_codes(pictures, step) if self.picture_tokenizer.training else None
        return self.picture_tokenizer.loss(pictures.cells, read, mask, keep)

    def draws(
        self, pictures: PictureBatch, step: int, columns: int
    ) -> Float64[np.ndarray, "B columns"]:
        """Even random numbers in 0..1 for each picture, by its number and the step alone."""
        numbers = pictures.first + np.arange(len(pictures.cells))
        return numbered_draws((self.config.seed, step), numbers, columns)

    def known_places(self, pictures: PictureBatch, step: int) -> Bool[Tensor, "B P"]:
        """Which places are given to the expert; on the CPU."""
        num_places = self.config.image.num_places
        draws = self.draws(pictures, step, 1 + num_places)
        shares = mask_shares(torch.from_numpy(draws[:, 0])).numpy()
        hidden = np.maximum(1, np.rint(shares * num_places))
        ranks = draws[:, 1:].argsort(1).argsort(1)
        return torch.from_numpy(ranks >= hidden[:, None])

    def kept_codes(self, pictures: PictureBatch, step: int) -> Bool[Tensor, "B K"]:
        """Which codes of each picture's places the tokenizer's decoder sees: always the first.

        All of them, but in some pictures only the first few, of evenly drawn number.
        """
        num_codes = self.config.tokens.codes_per_place
        draws = self.draws(pictures, step, 2)
        few = 1 + np.floor(draws[:, 1] * max(1, num_codes - 1))
        kept = np.where(draws[:, 0] < self.config.later_codes_dropout, few, num_codes)
        keep = torch.from_numpy(np.arange(num_codes) < kept[:, None])
        return keep.to(pictures.cells.device, non_blocking=True)

    def token_loss(
        self, batch: TokenBatch, expert: LowRankExpert | None, smoothing: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum of the cross-entropies of the targets, and their number."""
        hidden = self.trunk(batch.ids, expert=expert).hidden.flatten(0, 1)
        hidden = hidden.index_select(0, batch.places)
        loss = self.cross_entropy(self.trunk.logits(hidden), batch.targets, smoothing)
        return loss, loss.new_full((), len(batch.places))
