"""Secret keys of the marks: made on first start, rotated, and never shown.

A mark is only as good as its key: whoever holds it can verify, and also forge or remove. So keys
lie in one file that only its owner can read, or come from the environment where the disk is not
kept, and nothing prints them: a key is spoken of by its fingerprint.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtgen.errors import KeyFileError

KEY_ENV = "MTGEN_MARK_KEY"
"""The key that marks, as 64 hexadecimal digits; keeps the file from being read for it."""
OLD_KEYS_ENV = "MTGEN_OLD_MARK_KEYS"
"""Keys that only verify, separated by spaces."""
FOLDER_ENV = "MTGEN_KEYS"
"""The folder of the key file."""
KEY_BYTES = 32
FILENAME = "mark-keys.json"
LOCK_S = 10.0
"""Longest wait for another process that makes keys."""
TEXT = "text"
"""What a key is derived for: sampled text."""
TRANSLATION = "translation"
"""The same for translations that are searched with beams."""
PIXELS = "pixels"
"""The same for the pixels of pictures."""
CODES = "codes"
"""The same for their codes."""


@dataclass(frozen=True)
class MarkKey:
    """One secret key."""

    secret: bytes = field(repr=False)
    """32 bytes."""
    made: str = ""
    """Date, ISO 8601; empty where it is not known."""
    host: str = ""
    """Whose it is; empty for our own."""

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that name the key and give nothing of it away."""
        return hashlib.sha256(b"mtgen key fingerprint" + self.secret).hexdigest()[:8]

    def derived(self, purpose: str) -> bytes:
        """32 bytes for one kind of mark, so that no two share theirs (RFC 5869, one block)."""
        inner = hmac.digest(b"mtgen marks", self.secret, "sha256")
        return hmac.digest(inner, purpose.encode() + b"\x01", "sha256")


@dataclass(frozen=True)
class KeyRing:
    """The key that marks, and all that verify."""

    current: MarkKey
    others: tuple[MarkKey, ...] = ()
    """Former keys and those of other hosts: for verification alone."""
    note: str = ""
    """What a deployer should know, such as that keys will not outlive the process."""

    @property
    def all(self) -> tuple[MarkKey, ...]:
        """Every key once, the current one first."""
        own = {self.current.secret: self.current}
        return tuple((own | {k.secret: k for k in reversed(self.others)} | own).values())


PUBLIC = KeyRing(MarkKey(b"published, so that evals repeat!", host="published with mtgen"))
"""For measurements that anyone can repeat: whoever reads this can forge its marks."""


def key_folder() -> Path:
    """Where the key file lies unless the environment names a folder."""
    if chosen := os.environ.get(FOLDER_ENV):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_config_dir("mtgen", appauthor=False))


def parse_key(text: str, where: str) -> bytes:
    """The 32 bytes of 64 hexadecimal digits.

    Raises:
        KeyFileError: it is something else; the message does not repeat it.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise KeyFileError(
            f"{where} does not hold a key: 64 hexadecimal digits are needed, as "
            f"'python -c \"import secrets; print(secrets.token_hex(32))\"' prints them"
        )
    return secret


def new_key() -> MarkKey:
    """A fresh random key, dated today."""
    return MarkKey(secrets.token_bytes(KEY_BYTES), datetime.date.today().isoformat())


def load_keys(folder: Path | None = None, environ: Mapping[str, str] = os.environ) -> KeyRing:
    """The keys of this deployment; on first start they are made.

    A folder that cannot be written is no reason not to mark: then the key lives as long as the
    process, and the ring's note says so.

    Args:
        folder: Of the key file; None is `key_folder()`.
        environ: Where KEY_ENV and OLD_KEYS_ENV are looked up.

    Raises:
        KeyFileError: the file is damaged, or the environment holds no key.
    """
    path = (folder or key_folder()) / FILENAME
    former = [
        MarkKey(parse_key(text, f"{OLD_KEYS_ENV} (key {number})"))
        for number, text in enumerate(environ.get(OLD_KEYS_ENV, "").split(), 1)
    ]
    if text := environ.get(KEY_ENV):
        stored = read_keys(path) if path.is_file() else []
        return KeyRing(MarkKey(parse_key(text, KEY_ENV)), (*former, *stored))
    if path.is_file():
        stored = read_keys(path)
        own = [key for key in stored if not key.host]
        if own:
            rest = [key for key in stored if key is not own[-1]]
            return KeyRing(own[-1], (*former, *rest))
    else:
        stored = []
    key = new_key()
    try:
        with one_at_a_time(path.parent):
            if path.is_file() and not stored:  # another process was faster
                return load_keys(folder, environ)
            write_keys(path, [*stored, key])
    except OSError as error:
        note = (
            f"{path} cannot be written ({error.strerror}), so marks made now cannot be verified "
            f"after a restart; set {KEY_ENV} or {FOLDER_ENV}"
        )
        return KeyRing(key, (*former, *stored), note)
    return KeyRing(key, (*former, *stored))


def rotate(folder: Path | None = None) -> MarkKey:
    """Makes the key that marks from now on; the former ones keep verifying.

    Raises:
        KeyFileError: the file is damaged or cannot be written.
    """
    return add(new_key(), folder)


def add(key: MarkKey, folder: Path | None = None) -> MarkKey:
    """Adds a key: another host's for verification, or a new one of our own.

    Raises:
        KeyFileError: the file is damaged or cannot be written, or has the key for another host.
    """
    path = (folder or key_folder()) / FILENAME
    stored = read_keys(path) if path.is_file() else []
    for old in stored:
        if old.secret == key.secret and old.host != key.host:
            whose = f"that of {old.host}" if old.host else "one of our own"
            raise KeyFileError(f"key {key.fingerprint} is there already, as {whose}")
    kept = [old for old in stored if old.secret != key.secret]
    try:
        write_keys(path, [*kept, key])
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written ({error.strerror})") from None
    return key


def read_keys(path: Path) -> list[MarkKey]:
    """The keys of a file, oldest first.

    Raises:
        KeyFileError: it is not such a file, or others may read it.
    """
    try:
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise KeyFileError(
                f"{path} can be read by others; make it yours alone with 'chmod 600', and rotate "
                "the key if someone may have seen it"
            )
        rows: Any = json.loads(path.read_text("ascii"))["keys"]
        return [
            MarkKey(parse_key(row["key"], str(path)), str(row["made"]), str(row["host"]))
            for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        kind = type(error).__name__  # its text could repeat the key
        raise KeyFileError(
            f"{path} is no file of keys ({kind}); restore it, or move it away"
        ) from None


def write_keys(path: Path, keys: Sequence[MarkKey]) -> None:
    """Replaces a file of keys, which nobody else can read at any time."""
    rows = [{"key": k.secret.hex(), "made": k.made, "host": k.host} for k in keys]
    write_private(path, json.dumps({"keys": rows}, indent=1).encode("ascii"))


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps other processes from making keys in a folder at the same time.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with FileLock(folder / ".lock", timeout=LOCK_S):
            yield
    except Timeout:
        raise OSError(None, "locked by another process") from None


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file in one step; only its owner can read it, at any time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # made with mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
