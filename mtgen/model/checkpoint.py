"""Trained experts on disk: safetensors whose metadata says what they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mtgen.engine.linear import LowRankUpdate, Updates
from mtgen.engine.native import MOST_LIKELY
from mtgen.errors import CacheWriteError, CorruptedFileError, WeightsNotFoundError
from mtgen.model.autoencoder import Autoencoder, AutoencoderConfig
from mtgen.model.config import TrunkConfig
from mtgen.model.files import (
    AUTOENCODER,
    IMAGE_EXPERT,
    PICTURE_TOKENIZER,
    TARGET_VOCABULARY,
    TRANSLATION_EXPERT,
    WEIGHTS,
)
from mtgen.model.image_expert import ImageExpert, ImageExpertConfig
from mtgen.model.picture_tokenizer import PictureTokenizer, PictureTokenizerConfig
from mtgen.model.transformer import LowRankConfig, LowRankExpert

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)
UNREADABLE = (SafetensorError, OSError, KeyError, ValueError, TypeError)
"""What reading a file may raise that is cut off or of another kind."""


def save_weights(
    path: Path, module: nn.Module | Mapping[str, Tensor], config: Any, **notes: str
) -> None:
    """Writes weights in bf16 with their config; the file appears whole or not at all.

    Args:
        path: Of the file.
        module: Whose `state_dict` to write, or that itself.
        config: Frozen dataclass to build it again.
        notes: More metadata, such as the minutes trained.

    Raises:
        CacheWriteError: disk full or not writable.
    """
    state = module.state_dict() if isinstance(module, nn.Module) else module
    tensors = {
        name: tensor.detach().to("cpu", torch.bfloat16).contiguous()
        for name, tensor in state.items()
    }
    write_tensors(path, tensors, notes | {"config": json.dumps(dataclasses.asdict(config))})


def write_tensors(
    path: Path, tensors: dict[str, Tensor], notes: dict[str, str] | None = None
) -> None:
    """Writes tensors and metadata; the file appears whole or not at all.

    Raises:
        CacheWriteError: disk full or not writable.
    """
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, partial, notes)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise CacheWriteError(
            f"the weights {path} cannot be written ({error}); make room there or choose another "
            "folder"
        ) from None


def read_weights(
    path: Path, kind: type[Config]
) -> tuple[Config, dict[str, Tensor], dict[str, str]]:
    """Config, float32 tensors and metadata of a file.

    Raises:
        WeightsNotFoundError: there is no such file.
        CorruptedFileError: it is cut off, or not of this kind.
    """
    if not path.is_file():
        raise WeightsNotFoundError(
            f"the weights {path} are missing; they come with the repository, and "
            "'python -m mtgen.train' makes new ones"
        )
    try:
        return unpacked(path, kind)
    except UNREADABLE as error:
        raise CorruptedFileError(
            f"the weights {path} are damaged or of another kind ({error}); fetch the file again"
        ) from None


def unpacked(path: Path, kind: type[Config]) -> tuple[Config, dict[str, Tensor], dict[str, str]]:
    """What `read_weights` gives, with errors of UNREADABLE as they come."""
    with safe_open(path, "pt") as file:
        notes = file.metadata() or {}
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    fields = json.loads(notes["config"])
    lists = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return kind(**lists), tensors, notes


def fill(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Loads tensors into a module for inference.

    Raises:
        CorruptedFileError: names or shapes differ.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise CorruptedFileError(f"the weights {path} do not fit their config: {first}") from None
    module.eval().requires_grad_(False)


def load_autoencoder(path: Path = WEIGHTS / AUTOENCODER) -> Autoencoder:
    """The trained autoencoder, ready to code pictures; errors as `read_weights`."""
    model = _load(path, AutoencoderConfig, Autoencoder)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_picture_tokenizer(
    trunk: TrunkConfig, path: Path = WEIGHTS / PICTURE_TOKENIZER
) -> PictureTokenizer:
    """The trained picture tokenizer; errors as `read_weights`."""
    return _load(path, PictureTokenizerConfig, lambda config: PictureTokenizer(config, trunk))


def load_image_expert(trunk: TrunkConfig, path: Path = WEIGHTS / IMAGE_EXPERT) -> ImageExpert:
    """The trained image expert; errors as `read_weights`."""
    return _load(path, ImageExpertConfig, lambda config: ImageExpert(config, trunk))


def load_translation_expert(
    trunk: TrunkConfig, dtype: torch.dtype, path: Path = WEIGHTS / TRANSLATION_EXPERT
) -> list[Updates]:
    """The trained translation expert's updates of each layer; errors as `read_weights`.

    Args:
        trunk: Shape of the trunk beside which it was trained.
        dtype: To compute in.
        path: Of the file.

    Raises:
        ConfigError: it was trained beside a trunk of another shape.
    """
    expert = _load(path, LowRankConfig, lambda config: LowRankExpert(config, trunk))
    return [
        {name: LowRankUpdate(*factors, dtype) for name, factors in expert.updates(layer).items()}
        for layer in range(trunk.n_layer)
    ]


def load_target_vocabulary(
    vocab_size: int, eos_ids: Collection[int], path: Path = WEIGHTS / TARGET_VOCABULARY
) -> dict[str, Int64[Tensor, " N"]]:
    """Tokens that translations into some languages need, ascending.

    Args:
        vocab_size: Of the trunk.
        eos_ids: What ends a text, which all need.
        path: Of the file, which may be missing: then there is no such language.

    Raises:
        CorruptedFileError: it is damaged, does not fit the trunk, or has fewer tokens than a beam
            search may ask for.
    """
    if not path.is_file():
        return {}
    try:
        lists = {lang: tokens.tolist() for lang, tokens in load_file(path).items()}
        found = {lang: torch.tensor(sorted({*x, *eos_ids})) for lang, x in lists.items()}
        fits = all(
            x.dtype == torch.int64 and 0 <= x[0] and x[-1] < vocab_size for x in found.values()
        )
    except UNREADABLE as error:
        raise CorruptedFileError(
            f"the lists of tokens {path} are damaged ({error}); fetch the file again"
        ) from None
    if not fits or any(len(tokens) < MOST_LIKELY for tokens in found.values()):
        raise CorruptedFileError(
            f"the lists of tokens {path} do not fit this trunk, or are too short; "
            "'python -m mtgen.data vocabulary' makes new ones"
        )
    return found


def _load(path: Path, kind: type[Config], make: Callable[[Config], Module]) -> Module:
    config, tensors, _ = read_weights(path, kind)
    module = make(config)
    fill(module, tensors, path)
    return module
