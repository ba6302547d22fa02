"""All tasks' experts beside the trunk, and their losses under one objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from mtgen.model.image_expert import ImageExpert, mask_shares
from mtgen.model.transformer import KeysValues, LowRankExpert, TrunkModel
from mtgen.train.config import TrainConfig
from mtgen.train.streams import IGNORED, TokenBatch


@dataclass
class PictureBatch:
    """Pictures as the image expert learns them: coded, their prompts read by the trunk."""

    codes: UInt8[Tensor, "B h w S"]
    keys_values: KeysValues
    prompt_mask: Bool[Tensor, "B T"]
    first: int
    """Number of the first picture in the whole stream; masks are drawn by number."""


@dataclass
class Losses:
    """Sums of losses in nats, and what they are sums over, by task."""

    sums: dict[str, Tensor]
    counts: dict[str, Tensor]


class Experts(nn.Module):
    """What is trained, with the trunk that it stands on.

    Args:
        trunk: The shared trunk.
        config: Of the run; its tasks decide which experts there are.
    """

    def __init__(self, trunk: TrunkModel, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = trunk
        self.image = ImageExpert(config.image, trunk.config) if config.image_weight else None
        self.translation = (
            LowRankExpert(config.low_rank, trunk.config) if config.translate_weight else None
        )
        self.trunk.requires_grad_(config.unfreeze)
        if config.unfreeze and not (config.text_weight or config.translate_weight):
            # nothing reads what comes after the last layer that the image expert reads
            last = max(config.image.trunk_layers)
            self.trunk.norm.requires_grad_(False)
            for layer in self.trunk.layers[last + 1 :]:
                layer.requires_grad_(False)

    def read_prompts(self, sequences: list[list[int]]) -> tuple[KeysValues, Tensor]:
        """The trunk's keys and values of prompts, right-padded, and which tokens are real."""
        device = self.trunk.embedding.device
        longest = max(map(len, sequences))
        ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        lengths = torch.tensor([len(sequence) for sequence in sequences])
        mask = torch.arange(longest) < lengths[:, None]
        layers = self.config.image.trunk_layers
        out = self.trunk(ids.to(device), collect=set(layers), stop_after=max(layers))
        return out.keys_values, mask.to(device)

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
            assert self.image is not None
            keys_values, mask = pictures.keys_values, pictures.prompt_mask
            if prompts is not None:
                keys_values, mask = self.read_prompts(prompts)
            known = self.known_places(pictures, step)
            read = self.image.read_prompt(keys_values)
            losses = self.image.loss(pictures.codes, read, mask, known)
            sums["image"] = losses.sum()
            counts["image"] = torch.tensor(float(losses.numel()), device=losses.device)
        if pairs is not None:
            sums["translate"], counts["translate"] = self.token_loss(
                pairs, self.translation, self.config.label_smoothing
            )
        if text is not None:
            sums["text"], counts["text"] = self.token_loss(text, None, 0.0)
        return Losses(sums, counts)

    def known_places(self, pictures: PictureBatch, step: int) -> Bool[Tensor, "B P"] | None:
        """Which places are given to the expert; None in raster order."""
        if self.config.image.order == "raster":
            return None
        num_places = self.config.image.num_places
        rows = []
        for place in range(len(pictures.codes)):
            seed = (self.config.seed * 1_000_003 + pictures.first + place) * 1_009 + step
            generator = torch.Generator().manual_seed(seed % 2**63)
            share = mask_shares(torch.rand(1, generator=generator))
            hidden = max(1, round(float(share) * num_places))
            row = torch.ones(num_places, dtype=torch.bool)
            row[torch.randperm(num_places, generator=generator)[:hidden]] = False
            rows.append(row)
        return torch.stack(rows).to(pictures.codes.device)

    def token_loss(
        self, batch: TokenBatch, expert: LowRankExpert | None, smoothing: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Sum of the cross-entropies of the targets, and their number."""
        learned = batch.targets != IGNORED
        hidden = self.trunk(batch.ids, expert=expert).hidden[learned]
        scores = self.trunk.logits(hidden).float()
        loss = F.cross_entropy(
            scores, batch.targets[learned], reduction="sum", label_smoothing=smoothing
        )
        return loss, learned.sum().float()
