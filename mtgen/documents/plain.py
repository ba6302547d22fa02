"""Plain text: a piece is a line, without the blanks around it."""

from __future__ import annotations

from mtgen.documents.base import Document, Span, decode, lines, one_line, text_document


def open_txt(name: str, content: bytes) -> Document:
    """Reads a .txt file.

    Raises:
        DocumentError: binary, or in another encoding.
    """
    encoded = decode(name, content)
    spans = []
    for start, end in lines(encoded.text):
        line = encoded.text[start:end]
        piece = line.strip()
        start += len(line) - len(line.lstrip())
        spans.append(Span(start=start, end=start + len(piece), piece=piece, fit=one_line))
    return text_document("txt", encoded, spans)
