"""Every error that mtgen raises on purpose.

MtgenError
├── BadRequestError          exit code 2: the caller can mend it
│   ├── EmptyPromptError
│   ├── InvalidTextError     lone surrogates, control characters
│   ├── SettingError         a number out of its range, an unknown option
│   ├── PromptTooLongError
│   ├── LanguageError        a text whose language cannot be told
│   ├── PictureError         a file that is no picture of ours
│   ├── DocumentError        a file whose text cannot be translated
│   ├── PolicyError          a rule of the page refuses it
│   ├── LimitError           too many requests for now
│   └── UnknownNameError     no suite, metric or model of that name
├── ConfigError              a checkpoint that this code cannot run
├── TrunkError               exit code 1: the weights cannot be had
│   ├── TrunkNotFoundError   every origin was tried
│   ├── WeightsNotFoundError a trained expert's file is missing
│   └── CorruptedFileError   size, hash or structure is wrong
├── KeyFileError             keys of marks that cannot be read or written
├── CacheWriteError          disk full or not writable
├── RecordsError             an eval run on disk that cannot be read or resumed
├── HubError                 results that cannot be sent to the Hub
├── InterruptedWorkError     the thread that computes was ended; another begins when asked
└── WorkerError              processes of an eval run keep dying, or samples keep failing

Each message is one sentence: what was wrong, what was found, what would work.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class MtgenError(Exception):
    """Base of all errors below; the command line exits 1 on it."""

    exit_code = 1


class BadRequestError(MtgenError):
    """The request itself is at fault; the command line exits 2 on it."""

    exit_code = 2


class EmptyPromptError(BadRequestError):
    """The prompt has no visible character."""


class InvalidTextError(BadRequestError):
    """The prompt is not text: lone surrogates or control characters."""


class SettingError(BadRequestError):
    """A setting is of the wrong type or out of its range."""


class PromptTooLongError(BadRequestError):
    """Prompt and answer together do not fit into the model's context."""


class LanguageError(BadRequestError):
    """The language of a text cannot be told, or is none that is translated."""


class PictureError(BadRequestError):
    """A file is no picture, or carries no settings that can be used."""


class DocumentError(BadRequestError):
    """A file cannot be read as a document: its type, encoding, size or structure."""


class PolicyError(BadRequestError):
    """A rule of use refuses a prompt or an output."""


class LimitError(BadRequestError):
    """A visitor, or all of them together, asked for more than the page gives for now."""


class UnknownNameError(BadRequestError):
    """Nothing of that name exists; suggests the nearest."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"no {kind} named {name!r}.{hint} Known: {', '.join(names) or 'none'}")
        self._asked = kind, name, names

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._asked  # to come out of another process whole


class ConfigError(MtgenError):
    """A checkpoint's architecture is not one that this code can run."""


class TrunkError(MtgenError):
    """The trunk's weights cannot be had."""


class TrunkNotFoundError(TrunkError):
    """Every origin failed; the message names each with its reason."""


class WeightsNotFoundError(TrunkError):
    """The file of a trained expert is not where it belongs."""


class CorruptedFileError(TrunkError):
    """A weight file has the wrong size, hash or structure."""


class CacheWriteError(MtgenError):
    """The cache or output folder cannot be written: full, read-only, forbidden."""


class RecordsError(MtgenError):
    """Records of an eval run cannot be read, or belong to another run."""


class HubError(MtgenError):
    """The Hub cannot be reached, or refuses what is sent to it."""


class InterruptedWorkError(MtgenError):
    """The thread that computes was ended; the next request begins another."""


class WorkerError(MtgenError):
    """The processes of an eval run die, or its samples fail, one after the other."""


class KeyFileError(MtgenError):
    """A file or a variable that should hold the keys of marks and does not."""
