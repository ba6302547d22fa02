"""HTML: a piece is the text of a block, with its inline tags as `<x1>numbers</x1>`.

Nothing is parsed into a tree and written anew: only the texts of pieces are replaced, so every
tag, comment, script and style stays to the byte, and so does the text of what is not translated.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html.entities import codepoint2name
from itertools import count
from typing import Literal

from mtgen.documents.base import Document, Encoded, Span, has_words, text_document

INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite data del dfn em font i img ins label mark q ruby s small "
    "span strike strong sub sup time tt u wbr".split()
)
"""Elements inside of sentences; all others begin and end a piece."""
KEPT_INLINE = frozenset("code kbd samp var svg math".split())
"""Inside of sentences too, and their contents are not translated."""
KEPT = KEPT_INLINE | frozenset("iframe object pre script style template textarea".split())
RAW = frozenset("iframe script style textarea".split())
"""Inside them `<` begins no tag but the one that ends them."""
VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())

Kind = Literal["text", "open", "close", "object", "stop"]

_NAME = re.compile(r"</?([A-Za-z][^\s/>]*)")
_TAG = re.compile(r"</?[A-Za-z](?:[^>\"']|\"[^\"]*\"|'[^']*')*+>")
_NOT_TRANSLATED = re.compile(
    r"\stranslate\s*=\s*[\"']?no\b|\sclass\s*=\s*(?:\"[^\"]*|'[^']*|)\bnotranslate\b", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});")
_BLANKS = re.compile(r"[ \t\n\r\f]+")


@dataclass(frozen=True)
class Token:
    """A stretch of the source."""

    start: int
    end: int
    kind: Kind
    """`object`: stays in its sentence as it is; `stop`: between pieces."""
    name: str = ""
    """Of a tag's element, in lower case."""
    kept: bool = False
    """Begins an element whose contents are not translated."""


def open_markup(text: str) -> Document:
    """Reads HTML, a whole page or a part of one.

    Contents of KEPT and of elements with `translate="no"` or the class `notranslate` stay.
    Entities are characters in the pieces, and are written as the source writes them.

    Args:
        text: Without lone surrogates.
    """
    tokens = list(_joined(text))
    texts = [text[token.start : token.end] for token in tokens if token.kind == "text"]
    shown = html.unescape("".join(texts))
    mark = next(mark for n in count(1) if not re.search(rf"</?{(mark := n * 'x')}\d", shown))
    escape = _escaping(texts)
    spans, group = [], []
    for token in [*tokens, Token(len(text), len(text), "stop")]:
        if token.kind != "stop":
            group.append(token)
            continue
        if span := _span(text, group, mark, escape):
            spans.append(span)
        group = []
    return text_document("html", Encoded(text=text, bom=b"", codec="utf-8"), spans)


def _tokens(text: str) -> Iterator[Token]:
    """Texts and tags; what follows an unfinished tag or comment is one object, as in browsers."""
    position, quotes_close = 0, True
    while position < len(text):
        start = text.find("<", position)
        start = len(text) if start < 0 else start
        if start > position:
            yield Token(position, start, "text")
        if start == len(text):
            return
        name = _NAME.match(text, start)
        kind: Kind = "stop"
        element, kept = "", False
        if text.startswith("<!--", start):
            end, kind = text.find("-->", start + 2) + 3, "object"
            end = 0 if end == 2 else end
        elif name:
            element = name[1].lower()
            # Where quotation marks never close, they are not looked at any more: each further
            # look would go to the end of the text.
            tag = _TAG.match(text, start) if quotes_close else None
            quotes_close = tag is not None
            end = tag.end() if tag else text.find(">", start) + 1
            source = text[start:end]
            closes = source.startswith("</")
            kept = not closes and (
                element in KEPT or (element not in VOID and bool(_NOT_TRANSLATED.search(source)))
            )
            if element in INLINE or element in KEPT_INLINE:
                kind = "close" if closes else "object" if element in VOID else "open"
        elif text.startswith(("<!", "<?", "</"), start):
            end = text.find(">", start) + 1
        else:  # a lone sign
            yield Token(start, start + 1, "text")
            position = start + 1
            continue
        position = end or len(text)
        yield Token(start, position, kind, element, kept)
        if element in RAW and kept:
            ending = re.compile(rf"</{element}[\s/>]", re.IGNORECASE).search(text, position)
            inside = ending.start() if ending else len(text)
            yield Token(position, inside, "object")
            position = inside


def _joined(text: str) -> Iterator[Token]:
    """Tokens, with each element that is not translated as one."""
    first: Token | None = None
    depth = 0
    for token in _tokens(text):
        if first is None and token.kept:
            first, depth = token, 1
        elif first is None:
            yield token
        elif token.name == first.name:
            depth += -1 if text.startswith("</", token.start) else 1
            if not depth:
                yield Token(first.start, token.end, _of_kept(first))
                first = None
    if first:
        yield Token(first.start, len(text), _of_kept(first))


def _of_kept(first: Token) -> Kind:
    return "object" if first.name in INLINE | KEPT_INLINE else "stop"


def _trimmed(text: str, group: list[Token]) -> list[Token]:
    """Without blanks, objects and tags around the text."""

    def is_blank(token: Token) -> bool:
        return token.kind == "text" and not text[token.start : token.end].strip()

    first, last = 0, len(group) - 1
    partner = _partners(group)
    while first <= last:
        if is_blank(group[first]) or group[first].kind in ("object", "close"):
            first += 1
        elif is_blank(group[last]) or group[last].kind in ("object", "open"):
            last -= 1
        elif group[first].kind == "open" and partner.get(first, last) >= last:
            # around everything, or closed nowhere in it
            last -= partner.get(first) == last
            first += 1
        elif group[last].kind == "close" and partner.get(last, first) < first:
            last -= 1
        else:
            break
    return group[first : last + 1]


def _partners(group: Sequence[Token]) -> dict[int, int]:
    """Places of opening and closing tags that belong together, both ways."""
    found: dict[int, int] = {}
    unclosed: list[int] = []
    for place, token in enumerate(group):
        if token.kind == "open":
            unclosed.append(place)
        elif token.kind == "close":
            at = next((p for p in reversed(unclosed[-20:]) if group[p].name == token.name), None)
            if at is not None:
                del unclosed[unclosed.index(at) :]
                found[at], found[place] = place, at
    return found


def _span(text: str, group: list[Token], mark: str, escape: Callable[[str], str]) -> Span | None:
    """The piece of a block; None where it has no words."""
    group = _trimmed(text, group)
    if not group:
        return None
    parts: list[str] = []
    tags: list[tuple[str, str]] = []
    numbers: dict[int, int] = {}
    partner = _partners(group)
    for place, token in enumerate(group):
        source = text[token.start : token.end]
        if token.kind == "text":
            parts.append(_BLANKS.sub(" ", html.unescape(source)))
            continue
        other = partner.get(place)
        if token.kind == "close" and other is not None:
            number = numbers[other]
        else:
            number = numbers[place] = len(numbers) + 1
        if other is None:
            key = f"<{mark}{number}/>"
        elif token.kind == "open":
            key = f"<{mark}{number}>"
        else:
            key = f"</{mark}{number}>"
        parts.append(key)
        tags.append((key, source))
    first, last = text[group[0].start : group[0].end], text[group[-1].start : group[-1].end]
    start = group[0].start + (len(first) - len(first.lstrip()) if group[0].kind == "text" else 0)
    end = group[-1].end - (len(last) - len(last.rstrip()) if group[-1].kind == "text" else 0)
    piece = "".join(parts).strip()
    if not has_words(piece):
        return None
    fit = partial(_fitted, tags=tags, mark=mark, escape=escape)
    return Span(start=start, end=end, piece=piece, fit=fit)


def _fitted(
    translation: str, tags: list[tuple[str, str]], mark: str, escape: Callable[[str], str]
) -> str:
    """A translation with its tags again, each as often as in the source and well nested."""
    sources = dict(tags)
    parts = re.split(rf"(</?{mark}\d+/?>)", translation)
    keys = [part for part in parts[1::2] if part in sources]
    if not _well_nested(keys, [key for key, _ in tags]):
        keys = [key for key, _ in tags]  # in the order of the source
    left = iter(keys)
    written = [
        (sources.get(next(left, ""), "") if part in sources else escape(part))
        if place % 2
        else escape(part)
        for place, part in enumerate(parts)
    ]
    return "".join([*written, *(sources[key] for key in left)])


def _well_nested(keys: list[str], wanted: list[str]) -> bool:
    """Whether tags are those that are wanted, and close in the right order."""
    if Counter(keys) != Counter(wanted):
        return False
    unclosed = []
    for key in keys:
        if key.startswith("</"):
            if not unclosed or unclosed.pop() != key.replace("/", "", 1):
                return False
        elif not key.endswith("/>"):
            unclosed.append(key)
    return True


def _escaping(texts: Sequence[str]) -> Callable[[str], str]:
    """Writes characters the way these texts do.

    What they write as an entity becomes that entity; where they write everything beyond ASCII
    so, everything does.
    """
    known = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\xa0": "&nbsp;"}
    raw = beyond = False
    for text in texts:
        raw = raw or not text.isascii()
        for entity in _ENTITY.findall(text):
            char = html.unescape(entity)
            if len(char) == 1 and not (char.isascii() and char.isalnum()) and not char.isspace():
                known[char] = entity
                beyond = beyond or not char.isascii()

    def named(char: str) -> str:
        name = codepoint2name.get(ord(char))
        return f"&{name};" if name else f"&#{ord(char)};"

    def escape(text: str) -> str:
        if beyond and not raw:
            return "".join(known.get(c) or (c if c.isascii() else named(c)) for c in text)
        return "".join(known.get(c, c) for c in text)

    return escape
