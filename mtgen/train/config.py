"""What a training run is made of: one frozen dataclass, and named presets of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal

from mtgen.errors import SettingError, UnknownNameError
from mtgen.model.image_expert import ImageExpertConfig
from mtgen.model.picture_tokenizer import PictureTokenizerConfig
from mtgen.model.transformer import LowRankConfig

TASKS = ("tokens", "image", "translate", "text")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a run; flags of the command line come from the plain fields."""

    tokens_weight: float = 0.0
    """What the picture tokenizer's loss counts; the image expert is trained after it."""
    image_weight: float = 1.0
    """What the image task's loss counts; 0 leaves the task out."""
    translate_weight: float = 1.0
    """The same for translation."""
    text_weight: float = 0.0
    """The same for plain text, which only an unfrozen trunk can learn."""
    image_batch: int = 64
    """Pictures a step, of either picture task, for each process."""
    translate_batch: int = 32
    """Sentence pairs a step, for each process, on average."""
    text_batch: int = 8
    """Passages a step, for each process."""
    lr: float = 2e-3
    """Highest learning rate of the image expert and the picture tokenizer."""
    low_rank_lr: float = 1e-3
    """Highest learning rate of low-rank experts."""
    trunk_lr: float = 5e-5
    """Highest learning rate of an unfrozen trunk."""
    warmup: float = 0.02
    """Share of the run in which learning rates rise."""
    decay: float = 0.4
    """Share of the run, at its end, in which they fall to 0."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of all gradients together."""
    ema: float = 0.999
    """How much of the averaged weights stays at each step; less in the first steps."""
    optimizer: Literal["muon", "adamw"] = "muon"
    """Of their matrices; all else learns by AdamW."""
    prompt_dropout: float = 0.1
    """Share of pictures trained without their prompt, for guidance."""
    later_codes_dropout: float = 0.25
    """Share of pictures whose places keep only their first code, as the tokenizer learns."""
    decoder_only: bool = False
    """Leave the tokenizer's encoder as it is, so that tokens stay what an expert has learnt."""
    label_smoothing: float = 0.1
    """Of translation's targets."""
    styles: tuple[str, ...] = ()
    """Sources of the packed pictures to learn from; all of them unless given."""
    tidy: bool = False
    """Things stand in few places and sizes, on plain backgrounds, so that equal things have equal
    codes: learned in a fraction of the time."""
    reuse: int = 1
    """Steps that each prepared batch of pictures serves, each time masked anew."""
    rank: int = 32
    """Of the translation expert."""
    unfreeze: bool = False
    """Train the trunk too."""
    eager: bool = False
    """Never compile their layers."""
    seed: int = 0
    image: ImageExpertConfig = field(default_factory=ImageExpertConfig)
    """Shape of the image expert."""
    tokens: PictureTokenizerConfig = field(default_factory=PictureTokenizerConfig)
    """Shape of the picture tokenizer."""

    def __post_init__(self) -> None:
        weights = [getattr(self, f"{task}_weight") for task in TASKS]
        if min(weights) < 0 or not any(weights):
            raise SettingError(
                f"the tasks' weights are {weights}; none may be below 0, and one must be above"
            )
        if self.text_weight and not self.unfreeze:
            raise SettingError(
                "text_weight is above 0 but the trunk is frozen, so nothing could learn from it; "
                "add --unfreeze or leave it at 0"
            )
        if self.tokens_weight and self.image_weight:
            raise SettingError(
                "the image expert learns the tokens of a trained tokenizer: train with "
                "--tokens-weight 1 --image-weight 0 first, then the expert without --tokens-weight"
            )
        if self.decoder_only and not self.tokens_weight:
            raise SettingError(
                "decoder_only is for the picture tokenizer; add --tokens-weight 1 --image-weight 0"
            )
        if not 0 <= self.seed < 2**32:
            raise SettingError(f"seed must be from 0 to {2**32 - 1}, got {self.seed}")
        for name in ("image_batch", "translate_batch", "text_batch", "reuse", "rank"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "warmup",
            "decay",
            "prompt_dropout",
            "later_codes_dropout",
            "label_smoothing",
            "ema",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} must be from 0 to below 1, got {getattr(self, name)}")
        if self.warmup + self.decay > 1:
            raise SettingError(
                f"warmup={self.warmup} and decay={self.decay} are more than the whole run"
            )
        if self.optimizer not in ("muon", "adamw"):
            raise SettingError(f"optimizer must be 'muon' or 'adamw', got {self.optimizer!r}")

    @property
    def low_rank(self) -> LowRankConfig:
        """Shape of the translation expert."""
        return LowRankConfig(rank=self.rank)

    @property
    def draws(self) -> bool:
        """Whether pictures are trained on."""
        return bool(self.tokens_weight or self.image_weight)

    @property
    def tasks(self) -> dict[str, float]:
        """Weights of the tasks that are trained."""
        weights = {task: getattr(self, f"{task}_weight") for task in TASKS}
        return {task: weight for task, weight in weights.items() if weight}


PRESETS = {
    "tiny": TrainConfig(
        image_batch=8, translate_batch=4, text_batch=2, rank=4, optimizer="adamw",
        image=ImageExpertConfig(
            n_layer=2, n_embd=48, n_head=6, n_ff=96, trunk_layers=(0, 1),
            n_code_embd=32, n_code_ff=32,
        ),
        tokens=PictureTokenizerConfig(
            n_layer=2, n_encoder_layer=1, n_embd=48, n_head=6, n_ff=96, trunk_layers=(0, 1),
        ),
    ),
    "small": TrainConfig(
        image_batch=64, translate_batch=16, reuse=2, ema=0.998, tidy=True,
        styles=("twemoji", "noto", "fluent-emoji-flat", "fluent-emoji-3d"),
    ),
    "base": TrainConfig(
        image_batch=256, translate_batch=2048, reuse=2, tidy=True, rank=64,
        styles=("twemoji", "noto", "fluent-emoji-flat", "fluent-emoji-3d"),
        image=ImageExpertConfig(
            n_layer=12, n_embd=384, n_ff=1024, codes_per_place=4,
            trunk_layers=(1, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 29),
        ),
        tokens=PictureTokenizerConfig(codes_per_place=4),
    ),
}  # fmt: skip
"""tiny: for tests and rehearsals. small: two CPU cores. base: one GPU; its experts still draw a
picture in under two seconds on two cores."""


def preset(name: str, **changes: object) -> TrainConfig:
    """A preset with some fields replaced.

    Raises:
        UnknownNameError: no preset, or no field, of that name.
        SettingError: a value out of range.
    """
    if name not in PRESETS:
        raise UnknownNameError("preset", name, PRESETS)
    fields = {f.name for f in dataclasses.fields(TrainConfig)}
    for field_name in changes:
        if field_name not in fields:
            raise UnknownNameError("setting", field_name, fields)
    return dataclasses.replace(PRESETS[name], **changes)  # type: ignore[arg-type]


def lr_share(done: float, config: TrainConfig) -> float:
    """Learning rate as a share of the highest, at `done` of the run in 0..1.

    Warm-up, plateau, linear decay to 0 (arXiv:2405.18392).
    """
    if done < config.warmup:
        return (done + 1e-4) / (config.warmup + 1e-4)
    if done > 1 - config.decay:
        return max(0.0, (1 - done) / config.decay)
    return 1.0
