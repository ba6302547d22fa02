"""Models of others, behind the calls that suites make of our own.

| `--model` | what it is |
| --- | --- |
| `mtgen` | the shared model |
| a folder, or `owner/name` | a causal model, a translator, Janus, a `diffusers` pipeline |
| `https://host/v1#name` | a server that speaks OpenAI's chat completions |
| `trio:TEXT,TRANSLATE,IMAGE` | one of the above for each task; a place may be empty |

A folder of the Llama family runs in our own runtime; all else in `transformers` or `diffusers`.
Suites that a model cannot do are refused by name before they run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.models.base import Foreign, kinds_of
from mtgen.errors import ConfigError, SettingError, TrunkNotFoundError

TIMEOUT_S = 10
TRIO = "trio:"
UNIFIED = "JanusForConditionalGeneration"

__all__ = ["Foreign", "check_able", "kinds_of", "load_foreign", "refusals"]


def load_foreign(name: str) -> Any:
    """The model of that name; None where our own runtime runs it.

    Args:
        name: See above.

    Raises:
        TrunkNotFoundError: there is none, or the Hub cannot be reached.
        ConfigError: a checkpoint of a kind that no suite can ask.
        SettingError: a name that makes no sense.
    """
    if name.startswith(TRIO):
        from evals.models.trio import Trio

        return Trio.load(name)
    if name.startswith(("http://", "https://")):
        from evals.models.endpoint import Endpoint

        return Endpoint(name)
    folder = Path(name)
    if not folder.is_dir():
        folder = from_hub(name)
    elif is_ours(folder):
        return None
    return from_folder(folder, name)


def is_ours(folder: Path) -> bool:
    """Whether our runtime runs a checkpoint folder, or should say why not."""
    if (folder / "model_index.json").is_file():
        return False
    config = read_config(folder)
    return not config or config.get("model_type") == "llama"


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json`; empty where there is none.

    Raises:
        ConfigError: it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({error})") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is not a JSON object")
    return config


def from_folder(folder: Path, name: str) -> Foreign:
    """A checkpoint in the layout of `transformers` or `diffusers`."""
    if (folder / "model_index.json").is_file():
        from evals.models.diffusion import Diffusion

        return Diffusion(folder, name)
    config = read_config(folder)
    kinds = config.get("architectures") or []
    if config.get("is_encoder_decoder"):
        from evals.models.translator import Translator

        return Translator(folder, name)
    if UNIFIED in kinds:
        from evals.models.unified import Unified

        return Unified(folder, name)
    if any(str(kind).endswith(("CausalLM", "LMHeadModel")) for kind in kinds):
        from evals.models.causal import Causal

        return Causal(folder, name)
    raise ConfigError(
        f"{name} is a {', '.join(map(str, kinds)) or 'checkpoint without an architecture'}; suites "
        "can ask causal language models, Janus, encoder-decoders that translate, and diffusers "
        "pipelines"
    )


def from_hub(name: str) -> Path:
    """The folder of a model of the Hub, fetched if it is not in the cache.

    Raises:
        TrunkNotFoundError: no such folder or model, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if name.count("/") != 1:
        raise TrunkNotFoundError(
            f"--model takes 'mtgen', a checkpoint folder, owner/name on the Hub, an https address, "
            f"or trio:TEXT,TRANSLATE,IMAGE; there is no folder {name!r}"
        )
    try:
        return Path(snapshot_download(name, etag_timeout=TIMEOUT_S))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TrunkNotFoundError(
            f"{name} is no folder here and cannot be had from the Hub ({told[:200]}); a folder "
            "made with save_pretrained() works without a network"
        ) from None


def check_able(model: Any, suite: Any) -> None:
    """Refuses a suite that a model cannot do.

    Raises:
        SettingError: names the kinds of samples that it cannot be asked.
    """
    missing = kinds_of(suite) - model.kinds
    if missing:
        raise SettingError(
            f"{model.model} cannot do {suite.name}: its samples are of the kind "
            f"{', '.join(sorted(missing))}, and the model does {', '.join(sorted(model.kinds))}"
        )


def refusals(model: Any, suites: Sequence[Any]) -> dict[str, str]:
    """Of those suites that a model cannot do: why, by name."""
    refused = {}
    for suite in suites if isinstance(model, Foreign) else ():
        try:
            check_able(model, suite)
        except SettingError as error:
            refused[suite.name] = str(error)
    return refused
