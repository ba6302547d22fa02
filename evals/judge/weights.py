"""The instruments on disk: small safetensors files in bf16 whose metadata holds the config."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from mtgen.errors import CorruptedFileError, WeightsNotFoundError
from mtgen.model import checkpoint

if TYPE_CHECKING:
    from evals.judge.detector import Detector
    from evals.judge.model import Judge
    from evals.judge.people import PeopleReader

WEIGHTS = Path(__file__).parent / "weights"
JUDGE = "judge.safetensors"
DETECTOR = "detector.safetensors"
PEOPLE = "people.safetensors"
KINDS = {"judge": JUDGE, "detector": DETECTOR, "people": PEOPLE}
NUM_HEX = 12
"""Digits of a file's hash that a signature shows."""

Config = TypeVar("Config")


def check_there(kind: str, path: Path | None = None) -> Path:
    """The file of an instrument.

    Raises:
        WeightsNotFoundError: it is missing; names the command that makes it.
    """
    path = path or WEIGHTS / KINDS[kind]
    if not path.is_file():
        raise WeightsNotFoundError(
            f"the {kind} {path} is missing; 'python -m evals.judge train {kind} --pack DIR "
            f"--minutes 20 --out {path}' makes it"
        )
    return path


def load(kind: str, module: type[nn.Module], config_kind: type[Config], path: Path) -> Any:
    """A module of a file, in float32 and ready to use.

    Raises:
        WeightsNotFoundError: there is no such file.
        CorruptedFileError: it is cut off, or of another kind.
    """
    check_there(kind, path)
    try:
        config, tensors, _ = checkpoint.unpacked(path, config_kind)
        made = module(config)
        made.load_state_dict(tensors)
    except (*checkpoint.UNREADABLE, RuntimeError) as error:
        first = " ".join(str(error).split())[:160]
        raise CorruptedFileError(
            f"the {kind} {path} is damaged or of another kind ({first}); fetch or train it again"
        ) from None
    made.eval().requires_grad_(False)
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@cache
def _loaded(kind: str, path: Path, changed_ns: int) -> Any:
    if kind == "judge":
        from evals.judge.model import Judge, JudgeConfig

        return load(kind, Judge, JudgeConfig, path)
    if kind == "people":
        from evals.judge.people import PeopleConfig, PeopleReader

        return load(kind, PeopleReader, PeopleConfig, path)
    from evals.judge.detector import Detector, DetectorConfig

    return load(kind, Detector, DetectorConfig, path)


def load_judge(path: Path | None = None) -> Judge:
    """The trained judge, read once; errors as `load`."""
    path = check_there("judge", path)
    return _loaded("judge", path, path.stat().st_mtime_ns)


def load_detector(path: Path | None = None) -> Detector:
    """The trained detector, read once; errors as `load`."""
    path = check_there("detector", path)
    return _loaded("detector", path, path.stat().st_mtime_ns)


def load_people(path: Path | None = None) -> PeopleReader:
    """The trained reader of people, read once; errors as `load`."""
    path = check_there("people", path)
    return _loaded("people", path, path.stat().st_mtime_ns)


def fingerprint(kind: str, path: Path | None = None) -> str:
    """First digits of the file's sha256, for signatures; `none` where it is missing."""
    path = path or WEIGHTS / KINDS[kind]
    if not path.is_file():
        return "none"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:NUM_HEX]
