"""The trunk as a folder that `transformers` loads, and whatever is built on it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from mtgen.engine.linear import Checkpoint
from mtgen.errors import BadRequestError
from mtgen.model.config import TrunkConfig, read_json
from mtgen.model.trunk import writing

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COPIED = (
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"
)  # fmt: skip


def export(trunk: Path, out: Path, dtype: str = "float32") -> list[Path]:
    """Writes a trunk without its quantisation: `AutoModelForCausalLM.from_pretrained(out)`.

    The weights are those that `precision="float32"` runs with, so logits agree with it; bfloat16
    halves the size and rounds them. Trained experts are not part of it.

    Args:
        trunk: Checkpoint folder, as `mtgen.model.trunk.find_trunk` gives it.
        out: A new or empty folder.
        dtype: Key of DTYPES.

    Returns:
        The files written.

    Raises:
        BadRequestError: there is something in `out`.
        ConfigError: the checkpoint's architecture is not one that runs here.
        CacheWriteError: disk full or not writable.
    """
    TrunkConfig.from_dir(trunk)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRequestError(f"{out} is not an empty folder; name a new one")
    config = read_json(trunk / "config.json")
    for name in ("torch_dtype", "quantization_config"):
        config.pop(name, None)
    with writing(out.parent, "make room for 600 MB there or name another folder"):
        out.mkdir(parents=True, exist_ok=True)
        try:
            weights = Checkpoint(trunk).state_dict(DTYPES[dtype])
            save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:  # how a full disk shows here
            raise OSError(str(error)) from error
        (out / "config.json").write_text(
            json.dumps(config | {"dtype": dtype}, indent=2) + "\n", "utf-8"
        )
        for name in COPIED:
            if (trunk / name).is_file():
                shutil.copyfile(trunk / name, out / name)
    return sorted(out.iterdir())
