"""Subtitles, SubRip and WebVTT: a piece is a cue's text with its line breaks and tags.

Only the lines of text are replaced, so numbers, times, settings, styles and notes stay to the
byte; the libraries that were looked at (pysubs2, srt, webvtt-py) write them anew.
"""

from __future__ import annotations

import re
from functools import partial

from mtgen.documents.base import Document, Span, decode, lines, listed, text_document
from mtgen.errors import DocumentError

_TIME = r"(?:\d+:)?\d{1,2}:\d{1,2}(?:[.,]\d{1,3})?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_TIME_START = re.compile(rf"\s*{_TIME}")
_KEPT_BLOCK = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


def open_subtitles(name: str, content: bytes, kind: str) -> Document:
    """Reads an .srt or .vtt file.

    Text after a blank line within a cue is a piece of its own. A cue whose time line is broken
    is left as it is, with a note.

    Raises:
        DocumentError: another encoding, no cue that can be read, or a .vtt without its first
            line.
    """
    encoded = decode(name, content)
    text = encoded.text
    where = lines(text)
    rows = [text[start:end] for start, end in where]
    if kind == "vtt" and not re.match(r"WEBVTT(?:\s|$)", rows[0]):
        raise DocumentError(
            f"{name} does not start with WEBVTT, as every .vtt file does; add that line, or name "
            "it .srt if it is SubRip"
        )
    spans, broken, num_cues, index = [], [], 0, 0
    if kind == "vtt":
        index = next(
            (i for i, row in enumerate(rows) if not row.strip() or "-->" in row), len(rows)
        )
    while index < len(rows):
        if not rows[index].strip():
            index += 1
            continue
        end = _end(rows, index)
        first = _text_start(rows, index, end)
        if kind == "vtt" and _KEPT_BLOCK.match(rows[index]) or first is None and not num_cues:
            pass
        elif first == -1:
            broken.append(rows[index].strip() if rows[index].strip().isdigit() else num_cues + 1)
            num_cues += 1
        else:
            if first is not None:
                num_cues += 1
            first = index if first is None else first
            if first < end:
                start, stop = where[first][0], where[end - 1][1]
                spans.append(_cue(text, start, stop, kind))
        index = end
    if num_cues == len(broken):
        raise DocumentError(
            f"{name} has no cue that can be read; its time lines must look like "
            + ("00:01.000 --> 00:02.500" if kind == "vtt" else "00:00:01,000 --> 00:00:02,500")
        )
    return text_document(kind, encoded, spans, listed("Cue", broken, "a broken time line"))


def _end(rows: list[str], index: int) -> int:
    """The row after a block: a blank one, or the start of a cue that no blank row precedes."""
    has_times = "-->" in rows[index]
    for end in range(index + 1, len(rows)):
        if not rows[end].strip():
            return end
        numbered = rows[end - 1].strip().isdigit()
        if end > index + 1 or has_times:
            if _TIMES.fullmatch(rows[end]) or numbered and "-->" in rows[end]:
                return end - 1 if numbered and end - 1 > index else end
    return len(rows)


def _text_start(rows: list[str], index: int, end: int) -> int | None:
    """The first row of a cue's text; -1 where its time line is broken, None where it has none."""
    for row in range(index, min(index + 2, end)):
        if _TIMES.fullmatch(rows[row]):
            return row + 1
        if "-->" in rows[row]:
            return -1
    numbered = rows[index].strip().isdigit() and index + 1 < end
    return -1 if numbered and _TIME_START.match(rows[index + 1]) else None


def _cue(text: str, start: int, end: int, kind: str) -> Span:
    """The span of one cue's text, without the blanks around it."""
    raw = text[start:end]
    start += len(raw) - len(raw.lstrip())
    raw = raw.strip()
    break_ = re.search(r"\r\n|\r|\n", raw) or re.search(r"\r\n|\r|\n", text)
    piece = re.sub(r"\r\n|\r", "\n", raw)
    if kind == "vtt":
        piece = piece.replace("&nbsp;", "\u00a0").replace("&amp;", "&")
    fit = partial(_fit, kind=kind, line_break=break_[0] if break_ else "\n")
    return Span(start=start, end=start + len(raw), piece=piece, fit=fit)


def _fit(translation: str, *, kind: str, line_break: str) -> str:
    """No blank line and no arrow, which would end the cue; the escapes of WebVTT."""
    if kind == "vtt":
        translation = re.sub(r"&(?!(?:lt|gt|lrm|rlm|#\d+|#x[\da-fA-F]+);)", "&amp;", translation)
        translation = translation.replace("\u00a0", "&nbsp;").replace("-->", "--&gt;")
    translation = translation.replace("-->", "->")
    return line_break.join(line.rstrip() for line in translation.split("\n") if line.strip())
