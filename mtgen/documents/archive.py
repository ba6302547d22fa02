"""The zip file of a Word document, opened with distrust, and its XML."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from mtgen.errors import DocumentError

MAX_UNPACKED = 50_000_000
"""Bytes of all entries together."""
MAX_ENTRIES = 2_000
MAX_RATIO = 200
"""Unpacked to packed bytes of one entry that is larger than RATIO_FROM; plain XML has about 20."""
RATIO_FROM = 1_000_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")


def unpack(name: str, content: bytes) -> dict[str, bytes]:
    """Every entry of a zip file by its name, in order.

    Raises:
        DocumentError: no zip file, damaged, protected by a password, or above a limit.
    """
    if content.startswith(_OLE):
        if _ENCRYPTED in content:
            raise DocumentError(
                f"{name} is protected by a password; save it without one and give it again"
            )
        raise DocumentError(f"{name} is of an older Office format; save it as .docx in Word")
    if not content.startswith(b"PK"):
        raise DocumentError(f"{name} is no Word document; give a file that was saved as .docx")
    damaged = DocumentError(f"{name} is damaged or was cut off; save it again, or send it again")
    entries: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            _check_directory(name, infos)
            left = MAX_UNPACKED
            for info in infos:
                with archive.open(info) as entry:
                    data = entry.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise _too_large(name)
                entries[info.filename] = data
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError):
        raise damaged from None
    if len(entries) != len(infos):
        raise damaged
    return entries


def _check_directory(name: str, infos: list[zipfile.ZipInfo]) -> None:
    """Refuses what need not be unpacked to be refused."""
    if len(infos) > MAX_ENTRIES:
        raise DocumentError(
            f"{name} has {len(infos):,} parts and up to {MAX_ENTRIES:,} are read; save it anew "
            "in Word"
        )
    if any(info.flag_bits & 1 for info in infos):
        raise DocumentError(
            f"{name} is protected by a password; save it without one and give it again"
        )
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise DocumentError(f"{name} is packed in a way that Word does not use; save it anew there")
    if sum(info.file_size for info in infos) > MAX_UNPACKED or any(
        info.file_size > max(RATIO_FROM, MAX_RATIO * info.compress_size) for info in infos
    ):
        raise _too_large(name)


def _too_large(name: str) -> DocumentError:
    return DocumentError(
        f"{name} unpacks to more than {MAX_UNPACKED / 1e6:.0f} MB, or far more than documents do; "
        "cut it into parts"
    )


def repack(content: bytes, changed: Mapping[str, bytes]) -> bytes:
    """The zip file with some entries replaced; dates, order and the others' bytes stay."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            data = changed[info.filename] if info.filename in changed else old.read(info)
            kept = zipfile.ZipInfo(info.filename, info.date_time)
            kept.compress_type = info.compress_type
            kept.external_attr = info.external_attr
            kept.comment = info.comment
            new.writestr(kept, data)
    return buffer.getvalue()


def read_xml(name: str, data: bytes) -> Any:
    """The root element of a part; entities are not replaced and nothing is fetched.

    Raises:
        DocumentError: not well-formed, or with a DOCTYPE, which Word never writes.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    refused = DocumentError(
        f"{name} holds a DOCTYPE, which can hide attacks and which Word never writes; save it "
        "anew in Word"
    )
    if b"<!DOCTYPE" in data.replace(b"\0", b""):  # in UTF-16 too
        raise refused
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise DocumentError(
            f"{name} is damaged: its XML cannot be read; save it anew in Word"
        ) from None
    if root.getroottree().docinfo.doctype:
        raise refused
    return root


def write_xml(root: Any) -> bytes:
    """A part as Word writes it."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    return etree.tostring(
        root.getroottree(), xml_declaration=True, encoding="UTF-8", standalone=True
    )
