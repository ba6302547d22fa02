"""Documents: a file into texts to translate, and back under the same type.

document = open_document("film.srt", content)
content = document.written([translate(piece) for piece in document.pieces])
"""

from __future__ import annotations

import dataclasses
import re

from mtgen.documents.base import MAX_BYTES, MAX_CHARACTERS, Document, check_length
from mtgen.documents.glossary import read_glossary, translated_name
from mtgen.errors import DocumentError

SUFFIXES = (".txt", ".md", ".srt", ".vtt", ".po", ".csv", ".docx")

__all__ = [
    "MAX_BYTES",
    "MAX_CHARACTERS",
    "SUFFIXES",
    "Document",
    "DocumentError",
    "columns",
    "open_document",
    "read_glossary",
    "translated_name",
]


def open_document(name: str, content: bytes, *, column: str | None = None) -> Document:
    """Reads a file into pieces.

    Args:
        name: The file's name; its suffix, in any case, says the kind.
        content: Its bytes, up to MAX_BYTES.
        column: Of a .csv file: the column's name, or its number from 1. Other kinds ignore it.

    Returns:
        A document that may have no pieces; a note says so.

    Raises:
        DocumentError: one sentence on what is wrong with the file and what would work.
    """
    shown, suffix = _checked(name, content)
    if suffix == ".txt":
        from mtgen.documents.plain import open_txt

        document = open_txt(shown, content)
    elif suffix == ".md":
        from mtgen.documents.markdown import open_md

        document = open_md(shown, content)
    elif suffix == ".po":
        from mtgen.documents.catalogue import open_po

        document = open_po(shown, content)
    elif suffix == ".csv":
        from mtgen.documents.table import open_csv

        document = open_csv(shown, content, column)
    elif suffix == ".docx":
        from mtgen.documents.word import open_docx

        document = open_docx(shown, content)
    else:
        from mtgen.documents.subtitles import open_subtitles

        document = open_subtitles(shown, content, suffix[1:])
    check_length(shown, sum(map(len, document.pieces)))
    if document.pieces:
        return document
    notes = (*document.notes, "There is no text to translate in this file.")
    return dataclasses.replace(document, notes=notes)


def columns(name: str, content: bytes) -> list[str]:
    """The columns of a .csv file to choose from; none for other kinds.

    Raises:
        DocumentError: as from `open_document`.
    """
    shown, suffix = _checked(name, content)
    if suffix != ".csv":
        return []
    from mtgen.documents import table

    return table.columns(shown, content)


def _checked(name: str, content: bytes) -> tuple[str, str]:
    """The name to show in messages, and the suffix in lower case.

    Raises:
        DocumentError: a suffix that is not in SUFFIXES, an empty file or one above MAX_BYTES.
    """
    base = re.split(r"[/\\]", name)[-1]
    _, dot, ending = base.rpartition(".")
    suffix = f".{ending.lower()}" if dot else ""
    shown = base if len(base) <= 60 else f"{base[:40]}…{base[-19:]}"
    shown = "".join(char if char.isprintable() else "?" for char in shown) or "the file"
    known = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
    if not suffix:
        raise DocumentError(f"{shown} has no suffix that says its type; name it {known}")
    if suffix not in SUFFIXES:
        raise DocumentError(f"{shown} is of a type that cannot be translated; give {known}")
    if not content:
        raise DocumentError(f"{shown} is empty; give a file that holds text")
    if len(content) > MAX_BYTES:
        raise DocumentError(
            f"{shown} has {len(content) / 1e6:.1f} MB and up to {MAX_BYTES / 1e6:.0f} MB are read; "
            "cut it into parts, or leave pictures out"
        )
    return shown, suffix
