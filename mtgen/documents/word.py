"""Word documents (.docx): a piece is a paragraph's text, its formatting marked by numbered tags.

The parts with text (body, notes, headers, footers) are edited as XML with lxml; every other part
stays to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mtgen.documents.archive import read_xml, repack, unpack, write_xml
from mtgen.documents.base import Document, check_length, has_control
from mtgen.documents.paragraph import W, segments_of, split_runs, write_segment
from mtgen.errors import DocumentError

_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"

PARTS = ("main", "footnotes", "endnotes", "header", "footer")
"""Kinds of parts with text, in the order of their pieces."""

MAX_XML = 20_000_000
"""Bytes of these parts; 200,000 characters of Word's text take 2 to 8 million."""


def open_docx(name: str, content: bytes) -> Document:
    """Reads a .docx file.

    Deleted text, comments, fields, formulas and pictures stay as they are.

    Raises:
        DocumentError: no Word document, damaged, protected, above a limit, or with a DOCTYPE.
    """
    entries = unpack(name, content)
    parts = _text_parts(name, entries)
    data = {part: entries[part] for part in parts}
    size = sum(map(len, data.values()))
    if size > MAX_XML:
        raise DocumentError(
            f"{name} holds {size / 1e6:.0f} MB of text with its formatting and up to "
            f"{MAX_XML / 1e6:.0f} MB are read; cut it into parts"
        )
    places: list[tuple[str, int, int]] = []
    """(part, paragraph, segment) of each piece."""
    pieces, length, num_bad, num_fields, deleted = [], 0, 0, 0, False
    twins: dict[tuple[str, int, int], int] = {}
    """Pieces of text boxes that are there twice, for old versions of Word too."""
    for part in parts:
        root = read_xml(name, data[part])
        num_fields += sum(1 for _ in root.iter(W + "instrText", W + "fldSimple"))
        deleted = deleted or any(True for _ in root.iter(W + "del", W + "moveFrom"))
        first: dict[tuple[Any, int, int], int] = {}
        boxed: dict[Any, int] = {}
        for index, (paragraph, depth) in enumerate(_paragraphs(root)):
            segments = list(segments_of(paragraph, depth))
            if not segments:
                continue
            box, is_fallback = _box(paragraph)
            boxed[box] = in_box = boxed.get(box, -1) + 1
            for number, segment in enumerate(segments):
                if has_control(segment.piece):
                    num_bad += 1
                    continue
                if box is not None:
                    in_choices = (box.getparent(), in_box, number)
                    twin = first.get(in_choices) if is_fallback else None
                    if twin is not None and pieces[twin] == segment.piece:
                        twins[part, index, number] = twin
                        continue
                    first.setdefault(in_choices, len(pieces))
                places.append((part, index, number))
                pieces.append(segment.piece)
                length += len(segment.piece)
                check_length(name, length)
    notes = []
    if num_fields:
        notes.append(
            "Fields, such as a table of contents or page numbers, were left as they are; Word "
            "updates them with F9."
        )
    if deleted:
        notes.append("Tracked deletions were left as they are.")
    if any(part.endswith("comments.xml") for part in entries):
        notes.append("Comments were left as they are.")
    if num_bad:
        notes.append(f"Paragraphs with control characters were left as they are: {num_bad:,}.")

    def write(translations: Sequence[str | None]) -> bytes:
        wanted: dict[str, dict[int, dict[int, str]]] = {}
        twins_of = {number: place for place, number in twins.items()}
        for number, (place, translation) in enumerate(zip(places, translations, strict=True)):
            if translation is None or translation == pieces[number]:
                continue
            for part, index, segment in (place, twins_of.get(number, place)):
                wanted.setdefault(part, {}).setdefault(index, {})[segment] = translation
        changed = {}
        for part, by_paragraph in wanted.items():
            root = read_xml(name, data[part])
            for index, (paragraph, depth) in enumerate(list(_paragraphs(root))):
                if index in by_paragraph:
                    split_runs(paragraph)
                    segments = list(segments_of(paragraph, depth))
                    for number, translation in by_paragraph[index].items():
                        write_segment(segments[number], translation)
            changed[part] = write_xml(root)
        return repack(content, changed)

    return Document(kind="docx", pieces=tuple(pieces), notes=tuple(notes), write=write)


def _text_parts(name: str, entries: dict[str, bytes]) -> list[str]:
    """Names of the parts with text, as the document declares them.

    Raises:
        DocumentError: no body, or not as Office writes it.
    """
    kinds: dict[str, list[str]] = {kind: [] for kind in PARTS}
    if "[Content_Types].xml" in entries:
        names = {entry.lower(): entry for entry in entries}
        for override in read_xml(name, entries["[Content_Types].xml"]):
            kind = str(override.get("ContentType", ""))
            found = re.search(r"(?:wordprocessingml|ms-word).*\.(\w+)\+xml$", kind)
            part = names.get(str(override.get("PartName", "")).lstrip("/").lower())
            if part and found and found[1] in kinds and part not in kinds[found[1]]:
                kinds[found[1]].append(part)
    if not kinds["main"]:
        raise DocumentError(
            f"{name} is a zip file but no Word document; give a file that was saved as .docx"
        )
    return [part for kind in PARTS for part in kinds[kind]]


def _paragraphs(root: Any) -> Iterator[tuple[Any, int]]:
    """Each paragraph with the number of fields that are open where it starts."""
    depth = 0
    for element in root.iter(W + "p", W + "fldChar"):
        if element.tag == W + "p":
            yield element, depth
        else:
            kind = element.get(W + "fldCharType")
            depth = max(0, depth + {"begin": 1, "end": -1}.get(kind, 0))


def _box(paragraph: Any) -> tuple[Any, bool]:
    """The variant of a text box that a paragraph is in, and whether it is for old programs."""
    box = next(paragraph.iterancestors(_MC + "Choice", _MC + "Fallback"), None)
    return box, box is not None and box.tag == _MC + "Fallback"
