"""Catalogues of programs' messages (.po), read and written by polib."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mtgen.documents.base import Document, decode, has_control, has_words, listed
from mtgen.errors import DocumentError

MAX_PLURALS = 6
"""No language has more forms."""


def open_po(name: str, content: bytes) -> Document:
    """Reads a .po file; a piece is a `msgid` or `msgid_plural` that needs a translation.

    Entries that are untranslated or fuzzy are filled, and are not fuzzy any more. Unlike in
    other documents, a translation that equals its piece counts: "OK" is "OK" in many languages.

    Raises:
        DocumentError: another encoding, or not as polib reads it.
    """
    encoded = decode(name, content)
    text = encoded.text
    catalogue = _parse(name, text)
    num_plurals, notes = _num_plurals(catalogue)
    places = [place for entry in _open_entries(catalogue) for place in _places(entry, num_plurals)]
    pieces = tuple(source.strip() for _, source in places)
    bad = [entry.linenum - 1 for entry in _open_entries(catalogue) if has_control(entry.msgid)]
    notes += listed("The entry at line", bad, "a control character")
    num_done = sum(entry.translated() for entry in catalogue)
    if num_done:
        were = "entry was" if num_done == 1 else "entries were"
        notes.append(f"{num_done:,} {were} already translated and kept.")

    def write(translations: Sequence[str | None]) -> bytes:
        catalogue = _parse(name, text)
        given = iter(translations)
        for entry in _open_entries(catalogue):
            filled = [(keys, source, next(given)) for keys, source in _places(entry, num_plurals)]
            if not filled or any(translation is None for *_, translation in filled):
                continue
            for keys, source, translation in filled:
                for key in keys:
                    _fill(entry, key, _framed(source, translation or ""))
            if "fuzzy" in entry.flags:
                entry.flags.remove("fuzzy")
            entry.previous_msgid = entry.previous_msgid_plural = entry.previous_msgctxt = None
        line_break = "\r\n" if "\r\n" in text else "\n"
        return encoded.encode(str(catalogue).replace("\n", line_break))

    return Document(kind="po", pieces=pieces, notes=tuple(notes), write=write)


def _parse(name: str, text: str) -> Any:
    """A polib catalogue."""
    import polib

    try:
        # polib opens a file where the text is the path of one; no path starts with a line break.
        catalogue = polib.pofile("\n" + text, encoding="utf-8")
    except (OSError, ValueError, IndexError, KeyError, AttributeError, TypeError) as error:
        line = re.search(r"line (\d+)", str(error))
        where = f" (line {int(line[1]) - 1:,})" if line else ""
        raise DocumentError(
            f"{name} cannot be read as a catalogue of messages{where}; check it with msgfmt"
        ) from None
    if not len(catalogue) and not catalogue.metadata:
        raise DocumentError(f"{name} holds no message; a .po file has lines of msgid and msgstr")
    return catalogue


def _num_plurals(catalogue: Any) -> tuple[int, list[str]]:
    """How many plural forms the header says, and a note where it says none."""
    header = str(catalogue.metadata.get("Plural-Forms", ""))
    found = re.search(r"nplurals\s*=\s*(\d{1,3})", header)
    if found and 1 <= int(found[1]) <= MAX_PLURALS:
        return int(found[1]), []
    if not any(entry.msgid_plural for entry in catalogue):
        return 2, []
    return 2, ["The header gives no number of plural forms, so two were filled."]


def _open_entries(catalogue: Any) -> list[Any]:
    """Entries that need a translation."""
    return [entry for entry in catalogue if not entry.obsolete and not entry.translated()]


def _places(entry: Any, num_plurals: int) -> list[tuple[tuple[int | None, ...], str]]:
    """(plural forms, source) of what is to be filled; the form is None in a plain entry."""
    if has_control(entry.msgid) or has_control(entry.msgid_plural):
        return []
    if not entry.msgid_plural:
        return [((None,), entry.msgid)] if has_words(entry.msgid) else []
    if not has_words(entry.msgid + entry.msgid_plural):
        return []
    if num_plurals == 1:
        return [((0,), entry.msgid_plural)]
    return [((0,), entry.msgid), (tuple(range(1, num_plurals)), entry.msgid_plural)]


def _fill(entry: Any, key: int | None, text: str) -> None:
    """Writes a form, unless it was translated before."""
    if key is None:
        entry.msgstr = text
    elif entry.fuzzy or not entry.msgstr_plural.get(key):
        entry.msgstr_plural[key] = text


def _framed(source: str, translation: str) -> str:
    """A translation with the blanks and line breaks around its source, as msgfmt demands."""
    start = len(source) - len(source.lstrip())
    return source[:start] + translation + source[len(source.rstrip()) :]
