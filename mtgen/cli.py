"""What every mtgen command line shares: strict flags, the --json contract, exit codes."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mtgen.errors import BadRequestError, MtgenError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells expect."""


class Parser(argparse.ArgumentParser):
    """Refuses abbreviations, and reports a bad flag the way every other bad request is."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise BadRequestError(f"{message}; see '{self.prog} --help'")


def print_json(record: Any) -> None:
    """One object on standard output; lone surrogates and the like stay escaped."""
    print(json.dumps(record, ensure_ascii=True, allow_nan=False))


def run(command: Callable[[list[str]], int | None], arguments: Sequence[str] | None = None) -> int:
    """Runs a command and turns whatever happens into one sentence and an exit code.

    Returns:
        0 on success, 2 on a bad request, 1 on any other failure, 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a model writes more than a code page holds
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        code = command(arguments) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MtgenError as error:
        return fail(error, error.exit_code, arguments)
    except Exception as error:
        if os.environ.get("MTGEN_DEBUG"):
            raise
        expected = isinstance(error, (OSError, MemoryError))
        hint = "" if expected else "; this is a bug, MTGEN_DEBUG=1 shows where"
        return fail(MtgenError(f"{type(error).__name__}: {error}{hint}"), 1, arguments)


def fail(error: BaseException, code: int, arguments: Sequence[str]) -> int:
    """Says what went wrong in one sentence, and as an object where --json was asked for."""
    sentence = str(error) or type(error).__name__
    print(f"error: {sentence}", file=sys.stderr)
    if "--json" in arguments:
        print_json({"error": sentence, "type": type(error).__name__})
    return code


def commit() -> str | None:
    """The checkout's commit, marked `+` where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True
        )
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
