"""Markdown: a piece is the text of a block, with its inline marks inside.

markdown-it tells which lines a block's text stands in; only that text is replaced, so code,
HTML, front matter, definitions and the marks of blocks stay to the byte. Inline marks (emphasis,
code, links) pass through the piece, and whoever translates keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from mtgen.documents.base import (
    Document,
    Span,
    check_length,
    decode,
    has_words,
    lines,
    listed,
    one_line,
    text_document,
)

if TYPE_CHECKING:
    from markdown_it.token import Token

# A line within a paragraph that other programs read as structure: containers and alerts.
_STRUCTURE = re.compile(r":{3,}.*|\[![\w-]+\][+-]?")
_PREFIX = re.compile(r"\[[ xX]\][ \t]+|\[![\w-]+\][+-]?[ \t]+")
"""Before the text of a block: a box to tick, the kind of an alert with a title."""
_MARK = re.compile(
    r"[-+*](?=\s|$)|\d{1,9}(?=[.)](?:\s|$))|#{1,6}(?=\s|$)|>|`{3}|~{3}|[-=]+$|:(?=\s)"
)
"""At the start of a line it would begin another block."""
_NOT_TEXT = re.compile(
    r"(`{1,4})[^`].{0,400}?\1|\$[^$\n]{1,400}\$|\]\([^()\s]{0,2000}|\]\[[^\[\]]{0,400}\]|\[\^[^\[\]]{1,99}\]",
    re.DOTALL,
)
_SHORTCUT = re.compile(
    r"(?P<code>(`{1,4})[^`].{0,400}?\2)|(?<![\]\\])\[(?P<label>[^\[\]]{1,400})\](?:\[\])?(?![\[(:])",
    re.DOTALL,
)


def open_md(name: str, content: bytes) -> Document:
    """Reads a .md file: CommonMark with tables, footnotes, definition lists and front matter.

    Raises:
        DocumentError: binary, in another encoding, or too long.
    """
    encoded = decode(name, content)
    text = encoded.text
    check_length(name, len(text))  # of code too: some nesting takes markdown-it long
    where = lines(text)
    source = [text[start:end] for start, end in where]
    tokens, labels = _parse("\n".join(source))
    spans, lost = [], []
    for token, cells in _texts(tokens):
        assert token.map is not None
        row = token.map[0]
        try:
            if cells is not None:
                spans += _cell_span(source[row], where[row][0], token.content, cells)
            else:
                heading = token.meta.get("heading", "").startswith("#")
                found = list(_line_spans(source, where, row, token.content, heading))
                spans += _block_spans(text, found, labels)
        except LookupError:
            lost.append(row + 1)
    spans = [span for span in spans if has_words(_NOT_TEXT.sub("", span.piece))]
    return text_document("md", encoded, spans, listed("Line", lost, "a structure of its own"))


def _parse(text: str) -> tuple[list[Token], set[str]]:
    """Tokens of the blocks, and the labels of link definitions as markdown-it writes them."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.footnote import footnote_plugin
    from mdit_py_plugins.front_matter import front_matter_plugin

    parser = MarkdownIt("commonmark").enable("table")
    for plugin in (front_matter_plugin, footnote_plugin, deflist_plugin, dollarmath_plugin):
        parser.use(plugin)
    parser.core.ruler.disable(["inline", "footnote_tail"])
    env: dict[str, Any] = {}
    tokens = parser.parse(text, env)
    return tokens, set(env.get("references", {}))


def _texts(tokens: list[Token]) -> Iterator[tuple[Token, list[int] | None]]:
    """Each token of text; in a table, with the place at which its row was read so far."""
    cells: list[int] | None = None
    for before, token in zip(tokens, tokens[1:], strict=False):
        if token.type == "tr_open":
            cells = [0]
        elif token.type == "tr_close":
            cells = None
        elif token.type == "inline" and token.content:
            token.meta["heading"] = before.markup if before.type == "heading_open" else ""
            yield token, cells


def _line_spans(
    source: list[str], where: list[tuple[int, int]], row: int, content: str, heading: bool
) -> Iterator[tuple[int, int]]:
    """Where each line of a block's text stands, without marks and blanks.

    Raises:
        LookupError: the source does not hold it as it is.
    """
    for index, part in enumerate(part.strip() for part in content.split("\n")):
        line = source[row + index]
        if heading:
            mark = re.search(r"#{1,6}[ \t]+", line)
            start = mark.end() if mark else -1
        else:
            start = len(line.rstrip()) - len(part)
        if start < 0 or not line.startswith(part, start):
            raise LookupError(part)
        offset = where[row + index][0] + start
        yield offset, offset + len(part)


def _block_spans(text: str, found: list[tuple[int, int]], labels: set[str]) -> Iterator[Span]:
    """Spans of a block whose lines are known: one, or more around lines of structure."""
    group: list[tuple[int, int]] = []
    for start, end in [*found, (0, 0)]:
        if start == end or _STRUCTURE.fullmatch(text, start, end):
            if group:
                yield _span(text, group, labels)
            group = []
            continue
        prefix = _PREFIX.match(text, start, end)
        alert = prefix is not None and prefix[0].startswith("[!")
        group.append((prefix.end() if prefix and not group else start, end))
        if alert and len(group) == 1:  # its title is a line of its own
            yield _span(text, group, labels)
            group = []


def _span(text: str, group: list[tuple[int, int]], labels: set[str]) -> Span:
    """Lines that belong together; a line break stays in the piece only where the page has one."""
    pieces, breaks = [], []
    for index, (start, end) in enumerate(group):
        following = group[index + 1][0] if index + 1 < len(group) else end
        gap = text[end:following]
        line = text[start:end]
        slashes = len(line) - len(line.rstrip("\\"))
        if gap and slashes % 2:
            line, gap = line[:-1], "\\" + gap
        pieces.append(line)
        if gap:
            hard = gap.startswith(("\\", "  "))
            pieces.append("\n" if hard else " ")
            breaks += [gap] if hard else []
    piece = _with_labels("".join(pieces), labels)
    fit = partial(_fit, piece=piece, breaks=breaks)
    return Span(start=group[0][0], end=group[-1][1], piece=piece, fit=fit)


def _with_labels(piece: str, labels: set[str]) -> str:
    """`[label]` as `[label][label]`, so that a link still finds its definition once translated."""
    if not labels:
        return piece
    from markdown_it.common.utils import normalizeReference

    def full(match: re.Match[str]) -> str:
        label = match["label"]
        if match["code"] or normalizeReference(label) not in labels:
            return match[0]
        return f"[{label}][{label}]"

    return _SHORTCUT.sub(full, piece)


def _fit(translation: str, *, piece: str, breaks: list[str]) -> str:
    """Hard line breaks as the source wrote them, and no line that begins another block."""
    rows = []
    for index, row in enumerate(row.strip() for row in translation.split("\n")):
        mark = _MARK.match(row)
        if mark and not (index == 0 and piece.startswith(mark[0])):
            at = mark.end() if mark[0].isdigit() else 0
            row = row[:at] + "\\" + row[at:]
        rows += [row] if row else []
    if not breaks:
        return " ".join(rows)
    joined = rows[0]
    for index, row in enumerate(rows[1:]):
        joined += breaks[min(index, len(breaks) - 1)] + row
    return joined


def _cell_span(line: str, offset: int, content: str, cells: list[int]) -> Iterator[Span]:
    """The span of a table's next cell that holds `content`.

    Raises:
        LookupError: the row does not hold it.
    """
    while cells[0] <= len(line):
        start = cells[0]
        stop = re.compile(r"(?<!\\)\|").search(line, start)
        end = stop.start() if stop else len(line)
        cells[0] = end + 1
        raw = line[start:end].strip()
        if raw.replace("\\|", "|") == content:
            begin = offset + start + len(line[start:end]) - len(line[start:end].lstrip())
        elif start == 0 and raw.replace("\\|", "|").endswith(content):  # after marks of a list
            raw = raw[len(raw) - len(content) - content.count("|") :]
            begin = offset + len(line[start:end].rstrip()) - len(raw)
        else:
            continue
        yield Span(start=begin, end=begin + len(raw), piece=raw, fit=_fit_cell)
        return
    raise LookupError(content)


def _fit_cell(translation: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", one_line(translation))
