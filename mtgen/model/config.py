"""Shapes of a Llama-family trunk, read from a checkpoint's config.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtgen.errors import ConfigError, CorruptedFileError

SUPPORTED = ("llama", "qwen2")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint's file.

    Raises:
        CorruptedFileError: it is not one.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptedFileError(f"{path} is not readable JSON ({error})") from None
    if not isinstance(value, dict):
        raise CorruptedFileError(f"{path} does not hold a JSON object")
    return value


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Everything that the runtime and the experts take their shapes from."""

    name: str
    n_layer: int
    n_head: int
    """Query heads."""
    n_kv_head: int
    head_dim: int
    n_embd: int
    n_ff: int
    vocab_size: int
    context_length: int
    """Most positions that the model was trained for."""
    rope_theta: float
    rms_norm_eps: float
    tied_embeddings: bool

    def __post_init__(self) -> None:
        if self.n_head % self.n_kv_head:
            raise ConfigError(
                f"n_head={self.n_head} is not divisible by n_kv_head={self.n_kv_head}; "
                "grouped-query attention needs whole groups"
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim={self.head_dim} is odd; rotary positions need pairs")

    @classmethod
    def from_hf(cls, config: dict[str, Any], name: str) -> TrunkConfig:
        """From the fields of a Hugging Face `config.json`.

        Raises:
            ConfigError: another architecture, scaled rotary positions, a missing field.
        """
        kind = config.get("model_type")
        if kind not in SUPPORTED:
            raise ConfigError(
                f"the checkpoint's model_type is {kind!r}; this code runs {' and '.join(SUPPORTED)}"
            )
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        rope_type = rope.get("rope_type", rope.get("type", "default"))
        if rope_type != "default":
            raise ConfigError(
                f"the checkpoint scales its rotary positions ({rope_type!r}); only 'default' runs"
            )
        try:
            n_head, n_embd = config["num_attention_heads"], config["hidden_size"]
            return cls(
                name=name,
                n_layer=config["num_hidden_layers"],
                n_head=n_head,
                n_kv_head=config.get("num_key_value_heads") or n_head,
                head_dim=config.get("head_dim") or n_embd // n_head,
                n_embd=n_embd,
                n_ff=config["intermediate_size"],
                vocab_size=config["vocab_size"],
                context_length=config["max_position_embeddings"],
                rope_theta=rope.get("rope_theta", config.get("rope_theta", 10000.0)),
                rms_norm_eps=config["rms_norm_eps"],
                tied_embeddings=config.get("tie_word_embeddings", False),
            )
        except KeyError as missing:
            raise ConfigError(f"the checkpoint's config.json lacks the field {missing}") from None

    @classmethod
    def from_dir(cls, folder: Path) -> TrunkConfig:
        """Reads `folder/config.json`; the model's name is its `_name_or_path` or the folder's."""
        config = read_json(folder / "config.json")
        return cls.from_hf(config, config.get("_name_or_path") or folder.resolve().name)
