"""Glossaries: two columns of a .csv file; and what a translated file is called."""

from __future__ import annotations

import csv
import io
import re

from mtgen.documents.base import decode
from mtgen.errors import DocumentError, SettingError
from mtgen.requests import LANGUAGES, check_glossary

DELIMITERS = (",", ";", "\t")
HEADERS = {
    "term", "translation", "source", "target", "original", "from", "to",
    *LANGUAGES, *(name.casefold() for name in LANGUAGES.values()),
}  # fmt: skip
"""A first row of two of these names the columns."""


def read_glossary(name: str, content: bytes) -> tuple[tuple[str, str], ...]:
    """Reads a glossary: in each row a term and its translation.

    Args:
        name: The file's name, for messages.
        content: Cells are set apart by commas, semicolons or tabs. Blank rows are skipped, and
            so is a first row that names the columns, such as `term,translation` or `en;fr`.

    Raises:
        DocumentError: one sentence on the row that is wrong and what would work.
    """
    text = decode(name, content).text
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise DocumentError(f"{name} is no table that can be read: {error}") from None
    terms: dict[str, tuple[str, str]] = {}
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells):
            continue
        filled = len(cells) == 2 and all(cells)
        if filled and not terms and {cell.casefold() for cell in cells} <= HEADERS:
            continue
        if not filled:
            raise DocumentError(
                f"row {number} of {name} must be a term and its translation, got {_shown(row)}"
            )
        known = terms.setdefault(cells[0].casefold(), (cells[0], cells[1]))
        if known[1] != cells[1]:
            raise DocumentError(f"{name} gives {cells[0]!r} two translations; keep one")
    if not terms:
        raise DocumentError(f"{name} holds no terms; write one and its translation in each row")
    pairs = tuple(terms.values())
    try:
        check_glossary(pairs)
    except SettingError as error:
        raise DocumentError(f"{name} cannot be used: {error}") from None
    return pairs


def _delimiter(text: str) -> str:
    """The one that cuts most rows into two cells."""
    lines = [line for line in text.splitlines() if line.strip()]

    def fitting(delimiter: str) -> int:
        try:
            return sum(len(row) == 2 for row in csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=fitting)


def _shown(row: list[str]) -> str:
    shown = repr(" | ".join(row))
    return shown if len(shown) <= 60 else f"{shown[:58]}…'"


def translated_name(name: str, target: str) -> str:
    """What a file is called once it is translated: `film.srt` and `film.en.srt` are `film.fr.srt`.

    Args:
        name: The file's name, without folders.
        target: Key of LANGUAGES.
    """
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        return f"{name}.{target}"
    stem = re.sub(rf"(?<=.)\.(?:{'|'.join(LANGUAGES)})$", "", stem, flags=re.IGNORECASE)
    return f"{stem}.{target}{dot}{suffix}"
