"""Reads the files inside npm tarballs, wheels and Debian packages, without unpacking to disk."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mtgen.data.packages import PackageError


def members(archive: Path, pattern: str = "") -> Iterator[tuple[str, bytes]]:
    """Files in an archive whose path matches, in the archive's order.

    Args:
        archive: `.tgz`, `.whl` or `.deb`.
        pattern: Regular expression searched in the path, which has no leading `./`.

    Yields:
        Path inside the archive, and content. Links are left out.

    Raises:
        PackageError: the archive is damaged, or dpkg-deb is missing for a `.deb`.
    """
    wanted = re.compile(pattern)
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                for name in wheel.namelist():
                    if wanted.search(name) and not name.endswith("/"):
                        yield name, wheel.read(name)
        elif archive.suffix == ".deb":
            yield from deb_members(archive, wanted)
        else:
            with tarfile.open(archive, "r|gz") as tar:
                yield from tar_members(tar, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise PackageError(f"{archive.name} cannot be read: {error}") from error


def deb_members(archive: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Streams a Debian package's data through dpkg-deb."""
    try:
        process = subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(archive)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        raise PackageError(f"{archive.name}: dpkg-deb is not on this system") from None
    assert process.stdout is not None
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        yield from tar_members(tar, wanted)


def tar_members(tar: tarfile.TarFile, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    for entry in tar:
        name = entry.name.removeprefix("./")
        if entry.isfile() and wanted.search(name):
            file = tar.extractfile(entry)
            assert file is not None
            yield name, file.read()
