"""Small real packages that the tests make themselves: npm tarballs, wheels, Debian packages."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import polib
import pytest

from mtgen.data.packages import SUFFIXES, PackageStore, Pin
from mtgen.model.trunk import sha256_of

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")


def write_archive(path: Path, files: dict[str, bytes | str], *, name: str = "tiny") -> Path:
    """An archive of the kind that the ending says, with the files given."""
    contents = {k: v.encode() if isinstance(v, str) else v for k, v in files.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for inner, content in contents.items():
                wheel.writestr(inner, content)
            info = f"{name}-1.0.dist-info"
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    elif path.suffix == ".tgz":
        with tarfile.open(path, "w:gz") as tar:
            for inner, content in contents.items():
                entry = tarfile.TarInfo(f"package/{inner}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    else:
        root = path.with_suffix(".root")
        for inner, content in contents.items():
            (root / inner).parent.mkdir(parents=True, exist_ok=True)
            (root / inner).write_bytes(content)
        (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
        control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: x\n"
        (root / "DEBIAN/control").write_text(control + "Description: made by a test\n")
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(path)]
        subprocess.run(command, check=True, capture_output=True)
        shutil.rmtree(root)
    return path


def tiny_store(folder: Path, packages: dict[str, dict[str, bytes | str]]) -> PackageStore:
    """A store whose cache holds packages of the given names and contents, pinned."""
    folder.mkdir(parents=True, exist_ok=True)
    pins: dict[str, Pin] = {}
    for spec, files in packages.items():
        kind, _, name = spec.partition(":")
        made = write_archive(folder / f"made{SUFFIXES[kind]}", files, name=name.split("/")[-1])
        pin = Pin(spec=spec, version="1.0", sha256=sha256_of(made), size_bytes=made.stat().st_size)
        made.replace(folder / pin.filename)
        pins[spec] = pin
    return PackageStore(folder, pins=pins, progress=False)


def catalogue(pairs: dict[str, str], folder: Path) -> bytes:
    """A compiled gettext catalogue."""
    po = polib.POFile()
    po.metadata = {"Content-Type": "text/plain; charset=UTF-8"}
    for en, text in pairs.items():
        po.append(polib.POEntry(msgid=en, msgstr=text))
    path = folder / "made.mo"
    folder.mkdir(parents=True, exist_ok=True)
    po.save_as_mofile(str(path))
    return path.read_bytes()


NAUGHTY = {
    f"{lang}.json": json.dumps(words)
    for lang, words in {
        "en": ["gadzooks", "blasted knave"],
        "fr": ["saperlipopette"],
        "de": ["potzblitz"],
        "es": ["recórcholis"],
    }.items()
}
"""An offensive word list of harmless words."""
