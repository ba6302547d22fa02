"""A stand-in for a translator: capitals outside of tags, links and code."""

from __future__ import annotations

import re

from mtgen.documents import Document, open_document

KEPT = re.compile(r"(<[^<>]*>|\{[^{}]*\}|`[^`]*`|\]\([^()]*\)|\]\[[^\[\]]*\]|&\w+;|%\(?\w+\)?s?)")


def upper(piece: str) -> str:
    parts = KEPT.split(piece)
    return "".join(part if index % 2 else part.upper() for index, part in enumerate(parts))


def translated(document: Document) -> bytes:
    return document.written([upper(piece) for piece in document.pieces])


def through(name: str, text: str, **options) -> str:
    """A text file translated, as text."""
    return translated(open_document(name, text.encode(), **options)).decode()
