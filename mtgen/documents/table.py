"""Tables (.csv): a piece is a cell of one column.

The csv module tells no positions, and without them quoting and line breaks could not stay to
the byte; so cells are found here, by that module's rules (a test compares the two).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from mtgen.documents.base import Document, Encoded, Span, decode, listed, one_line, text_document
from mtgen.errors import DocumentError

DELIMITERS = (",", ";", "\t", "|")
MAX_CELLS = 500_000
SAMPLE_ROWS = 100
"""Rows that are looked at to find the delimiter."""


@dataclass(frozen=True)
class Cell:
    """One cell of a row, where it stands in the text."""

    start: int
    end: int
    value: str
    quoted: bool
    sound: bool = True
    """False where quotation marks do not surround the whole cell."""


def open_csv(name: str, content: bytes, column: str | None) -> Document:
    """Reads one column of a .csv file; its first row names the columns and stays.

    Args:
        column: Its name or its number from 1; may be None where there is only one.

    Raises:
        DocumentError: no such column, a quotation mark that never closes, another encoding.
    """
    encoded, delimiter, rows = _table(name, content)
    names = _names(rows)
    chosen = _chosen(name, names, column)
    notes = ["The first row was taken as the columns' names and left as it is."]
    spans, short, odd = [], [], []
    for number, row in list(enumerate(rows, 1))[_header(rows) + 1 :]:
        if len(row) <= chosen:
            if row != [] and any(cell.value for cell in row):
                short.append(number)
        elif not row[chosen].sound:
            odd.append(number)
        else:
            spans.append(_span(encoded.text, row[chosen], delimiter))
    if len(names) > 1:
        notes += listed("Row", short, "no cell in that column")
    notes += listed("Row", odd, "text after a closing quotation mark")
    return text_document("csv", encoded, spans, notes)


def columns(name: str, content: bytes) -> list[str]:
    """What `column` can be: each name, or the number where a name is missing or not the first."""
    _, _, rows = _table(name, content)
    names = _names(rows)
    return [
        label if label and label not in names[:index] else str(index + 1)
        for index, label in enumerate(names)
    ]


def _table(name: str, content: bytes) -> tuple[Encoded, str | None, list[list[Cell]]]:
    """The text, its delimiter (None in a table of one column) and its rows."""
    encoded = decode(name, content)
    if any(encoded.text.count(delimiter) > MAX_CELLS for delimiter in DELIMITERS):
        raise DocumentError(
            f"{name} has more than {MAX_CELLS:,} cells, which is the most that is read; cut it "
            "into parts, or leave columns out"
        )
    named = re.match(r"sep=([,;\t|])(?:\r\n|\r|\n)", encoded.text)
    delimiter = named[1] if named else _delimiter(encoded.text)
    rows = list(_rows(encoded.text, delimiter))
    for number, row in enumerate(rows, 1):
        if any(not cell.quoted and not cell.sound for cell in row):
            raise DocumentError(
                f"{name} opens a quotation mark in row {number:,} that never closes; close it, or "
                'write it twice ("") where it is part of the text'
            )
    if not any(rows):
        raise DocumentError(f"{name} holds no row; its first row must name the columns")
    return encoded, delimiter, rows


def _rows(text: str, delimiter: str | None) -> Iterator[list[Cell]]:
    """The cells of each row; a blank line is a row of none."""
    stop = re.escape(delimiter or "")
    pattern = re.compile(rf'("(?:[^"]|"")*")?([^{stop}\r\n]*)')
    line_break = re.compile(r"\r\n|\r|\n")
    position, row = 0, []
    while position < len(text) or row:
        match = pattern.match(text, position)
        assert match is not None
        start, end = match.span()
        quoted = match[1] is not None
        value = match[1][1:-1].replace('""', '"') + match[2] if quoted else match[2]
        sound = not match[2] if quoted else not value.startswith('"')
        row.append(Cell(start, end, value, quoted, sound))
        after = line_break.match(text, end)
        position = after.end() if after else end + 1
        if after or end == len(text):
            yield [] if len(row) == 1 and start == end else row
            row = []


def _delimiter(text: str) -> str | None:
    """The one that cuts most rows into as many cells as the first, then into most cells."""
    best = (0.0, 0, None)
    for delimiter in DELIMITERS:
        widths = [len(row) for row in islice(_rows(text, delimiter), SAMPLE_ROWS) if row]
        if widths and widths[0] > 1:
            score = (widths.count(widths[0]) / len(widths), widths[0], delimiter)
            best = max(best, score, key=lambda entry: entry[:2])
    return best[2]


def _header(rows: list[list[Cell]]) -> int:
    """The index of the row with the columns' names: the first, not counting `sep=;` and blanks."""
    marked = bool(rows[0]) and rows[0][0].value == "sep="
    return next((index for index, row in enumerate(rows) if row and not (marked and not index)), 0)


def _names(rows: list[list[Cell]]) -> list[str]:
    return [cell.value.strip() for cell in rows[_header(rows)]]


def _chosen(name: str, names: list[str], column: str | None) -> int:
    """The index of a column.

    Raises:
        DocumentError: none of that name or number, or a choice is needed.
    """
    listing = ", ".join(f"{number} {label!r}" for number, label in enumerate(names, 1))
    if column is None or not column.strip():
        if len(names) == 1:
            return 0
        raise DocumentError(f"{name} has {len(names)} columns; choose one of {listing}")
    column = column.strip()
    if column in names:
        return names.index(column)
    if column.isdecimal() and 1 <= int(column[:9]) <= len(names):
        return int(column) - 1
    raise DocumentError(f"{name} has no column {column!r}; choose one of {listing}")


def _span(text: str, cell: Cell, delimiter: str | None) -> Span:
    """The span of a cell: inside its quotation marks, or all of it where it has none."""
    raw = text[cell.start : cell.end]
    piece = re.sub(r"\r\n|\r", "\n", cell.value.strip())
    if cell.quoted:
        line_break = re.search(r"\r\n|\r|\n", raw) or re.search(r"\r\n|\r|\n", text)
        raw = raw[1:-1]
        start = cell.start + 1 + len(raw) - len(raw.lstrip())
        fit = partial(_quoted, line_break=line_break[0] if line_break else "\n")
        return Span(start=start, end=start + len(raw.strip()), piece=piece, fit=fit)
    fit = partial(_unquoted, raw=raw, delimiter=delimiter or ",")
    return Span(start=cell.start, end=cell.end, piece=piece, fit=fit)


def _quoted(translation: str, *, line_break: str) -> str:
    return translation.replace('"', '""').replace("\n", line_break)


def _unquoted(translation: str, *, raw: str, delimiter: str) -> str:
    """In quotation marks only where the translation needs them."""
    start = len(raw) - len(raw.lstrip())
    text = raw[:start] + one_line(translation) + raw[len(raw.rstrip()) :]
    if text.startswith('"') or (delimiter in text and delimiter not in raw):
        text = '"' + text.replace('"', '""') + '"'
    return text
