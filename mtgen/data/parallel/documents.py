"""Aligns translated documents by their structure: HTML, DocBook, Mallard, manual pages.

A document is a list of blocks (tag, identifier, text). Blocks with the same identifier are twins;
otherwise a section is taken block by block where both versions have the same tags in the same
order, and left out where they differ. No guessing by length: it was noisy when measured.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mtgen.data.archives import members
from mtgen.data.calibration import is_calibration
from mtgen.data.parallel.pairs import Pair
from mtgen.data.sources import Files


class Block(NamedTuple):
    """A paragraph, heading, list item or cell."""

    tag: str
    identifier: str | None
    """Unique within the document, the same in all languages; None where the format has none."""
    text: str


HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "title", "sh", "ss"})


def align(english: Sequence[Block], other: Sequence[Block]) -> Iterator[tuple[str, str]]:
    """Pairs of texts that stand at the same place in both versions of a document."""
    twins = {block.identifier: block for block in unique(english)}
    if twins and len(twins) > len(english) / 3:
        for block in unique(other):
            twin = twins.get(block.identifier)
            if twin is not None and twin.tag == block.tag:
                yield twin.text, block.text
        return
    left, right = sections(english), sections(other)
    # translators add a section about themselves at the end
    if [section[0].tag for section in left] != [section[0].tag for section in right][: len(left)]:
        return
    for a, b in zip(left, right, strict=False):
        if [block.tag for block in a] == [block.tag for block in b]:
            yield from ((x.text, y.text) for x, y in zip(a, b, strict=True))
        elif a[0].tag in HEADINGS:
            yield a[0].text, b[0].text


def unique(blocks: Sequence[Block]) -> list[Block]:
    """Blocks whose identifier occurs once."""
    counts = Counter(block.identifier for block in blocks)
    return [block for block in blocks if block.identifier and counts[block.identifier] == 1]


def sections(blocks: Sequence[Block]) -> list[list[Block]]:
    """Cuts before each heading."""
    parts: list[list[Block]] = []
    for block in blocks:
        if not parts or block.tag in HEADINGS:
            parts.append([])
        parts[-1].append(block)
    return parts


CODE = frozenset({"pre", "screen", "programlisting", "literallayout", "script", "style",
                  "code-block", "synopsis", "cmdsynopsis", "funcsynopsis", "listing", "svg",
                  "math", "footer", "nav", "info", "mediaobject", "indexterm", "bibliography",
                  "address"})  # fmt: skip
BLOCKS = frozenset({"p", "para", "simpara", "li", "dt", "dd", "td", "th", "h1", "h2", "h3", "h4",
                    "h5", "h6", "title", "desc", "item", "term", "entry", "caption", "subtitle",
                    "blockquote", "figcaption", "div", "section", "note", "listitem", "body",
                    "article", "chapter", "sect1", "sect2", "sect3", "steps", "list", "page",
                    "varlistentry", "variablelist", "itemizedlist", "orderedlist", "tip",
                    "warning", "caution", "important", "step", "procedure", "table", "tbody", "tr",
                    "ul", "ol", "dl", "main", "header", "center", "html"})  # fmt: skip


def blocks_of_markup(content: bytes, *, html: bool) -> list[Block]:
    """Blocks of an HTML, DocBook or Mallard document; code listings are left out.

    Text that is not in an inner block belongs to the innermost block around it.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]
    from lxml import html as lxml_html

    try:
        if html:
            root = lxml_html.document_fromstring(
                content, lxml_html.HTMLParser(encoding=encoding(content))
            )
        else:
            # entities such as &kde; come from files that are not here: keep their names
            content = re.sub(rb"<!DOCTYPE[^\[>]*(\[.*?\])?\s*>", b"", content, flags=re.DOTALL)
            content = re.sub(rb"&(?!(?:lt|gt|amp|quot|apos|#\w+);)([\w.-]+);", rb"\1", content)
            parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
            root = etree.fromstring(content, parser)
    except (etree.LxmlError, ValueError):
        return []
    if root is None:
        return []
    blocks: list[Block] = []
    if html:
        root = next(root.iter("body"), root)
    walk(root, blocks)
    return [Block(b.tag, b.identifier, " ".join(b.text.split())) for b in blocks if b.text.strip()]


def encoding(content: bytes) -> str:
    """UTF-8, or for some old pages Latin-1; what they declare themselves is often wrong."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def walk(node, blocks: list[Block]) -> None:
    """Appends the blocks at and below `node`, in document order."""
    tag = local(node)
    identifier = node.get("id") or node.get("{http://www.w3.org/XML/1998/namespace}id")
    pieces: list[str] = []

    def flush() -> None:
        text = "".join(pieces)
        pieces.clear()
        if text.strip():
            blocks.append(Block(tag, identifier, text))

    def inline(element) -> None:
        pieces.append(element.text or "")
        for child in element:
            name = local(child)
            if name in CODE or not name:
                pass
            elif name in BLOCKS:
                flush()
                walk(child, blocks)
            elif name == "br":
                pieces.append(" ")
            else:
                inline(child)
            pieces.append(child.tail or "")

    inline(node)
    flush()


def local(node) -> str:
    """Tag without namespace; empty for comments and processing instructions."""
    return node.tag.rpartition("}")[2].lower() if isinstance(node.tag, str) else ""


BREAKS = frozenset("PP P LP TP IP SH SS RS RE HP nf fi EX EE br sp TH TQ UR UE MT ME ti in".split())
ESCAPES = [
    (re.compile(r'\\".*'), ""),
    (re.compile(r"\\f(?:\[[^\]]*\]|\(..|.)"), ""),
    (re.compile(r"\\s[-+]?\d+"), ""),
    (re.compile(r"\\\((?:aq|cq|oq)"), "'"),
    (re.compile(r"\\\((?:lq|rq|dq)"), '"'),
    (re.compile(r"\\\[(?:aq|cq|oq)\]"), "'"),
    (re.compile(r"\\\((?:en|em)"), "–"),
    (re.compile(r"\\\[(?:en|em)\]"), "–"),
    (re.compile(r"\\\(bu|\\\[bu\]"), "•"),
    (re.compile(r"\\\(co|\\\[co\]"), "©"),
    (re.compile(r"\\\[u([0-9A-F]{4})\]"), lambda match: chr(int(match[1], 16))),
    (re.compile(r"\\\(..|\\\[[^\]]*\]|\\\*(?:\(..|\[[^\]]*\]|.)"), "\ufffc"),
    (re.compile(r"\\[&|^,/:%)c]"), ""),
    (re.compile(r"\\[~ 0]"), " "),
    (re.compile(r"\\-"), "-"),
    (re.compile(r"\\e"), r"\\"),
    (re.compile(r"\\(.)"), r"\1"),
]
"""roff escapes to text; one that is not known becomes an object mark, and its block is dropped."""


def blocks_of_manual(content: bytes) -> list[Block]:
    """Blocks of a manual page in roff with the `man` macros; examples are left out."""
    blocks: list[Block] = []
    words: list[str] = []
    tag = "th"
    skipping = False

    def flush(next_tag: str) -> None:
        nonlocal tag
        text = " ".join(" ".join(words).split())
        words.clear()
        if text and "\ufffc" not in text and not skipping:
            blocks.append(Block(tag, None, text))
        elif text:
            blocks.append(Block("code", None, ""))
        tag = next_tag

    for line in content.decode("utf-8", "replace").splitlines():
        if line.startswith((".", "'")):
            macro, _, rest = line[1:].strip().partition(" ")
            if macro.startswith("\\") or macro in {"ad", "ds", "if", "ie", "el", "de", "so", "ne",
                                                  "hy", "nh", "ft", "ll", "tr", "rm", "als", "PD",
                                                  "IX", "nr", "", "."}:  # fmt: skip
                continue
            if macro in BREAKS:
                flush(macro.lower())
                if macro in {"nf", "EX"}:
                    skipping = True
                elif macro in {"fi", "EE"}:
                    skipping = False
                elif macro in {"SH", "SS"} and rest:
                    words.append(unroff(rest.replace('"', "")))
                    flush("after-heading")
            else:  # font macros: alternating ones join their words
                parts = [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', rest)]
                joint = "" if macro in {"BR", "RB", "BI", "IB", "IR", "RI"} else " "
                words.append(unroff(joint.join(parts)))
                if tag == "tp":
                    flush("tp-text")
        else:
            words.append(unroff(line))
            if tag == "tp":
                flush("tp-text")
    flush("end")
    return blocks


def unroff(text: str) -> str:
    """A line of roff as text."""
    for pattern, by in ESCAPES:
        text = pattern.sub(by, text)
    return text


Parse = Callable[[bytes], list[Block]]
Locate = Callable[[str], tuple[str, str] | None]
"""Path in an archive to (document name, language), or None where the file is something else."""


class Document(NamedTuple):
    """One language's version of a document."""

    name: str
    """The same in all languages."""
    lang: str
    blocks: list[Block]


Read = Callable[[Files], Iterator[Document]]


def documents(parse: Parse, locate: Locate) -> Read:
    """Reader for packages whose documents lie side by side, one file per language."""

    def read(files: Files) -> Iterator[Document]:
        for archive in files.values():
            for name, content in members(archive, r"\.(html?|page|docbook|utf8|\d\w*)(\.gz)?$"):
                place = locate(name)
                if place is not None:
                    text = gzip.decompress(content) if name.endswith(".gz") else content
                    yield Document(*place, parse(text))

    return read


def aligned(read: Read, source: str = "") -> Callable[[Files], Iterator[Pair]]:
    """Pairs of blocks that stand at the same place of a document and its translation.

    Args:
        read: Gives the documents.
        source: Name of the source; its documents for calibration are left out. Empty keeps all.
    """

    def pairs(files: Files) -> Iterator[Pair]:
        english: dict[str, list[Block]] = {}
        others: dict[tuple[str, str], list[Block]] = {}
        for document in read(files):
            if source and is_calibration(source, document.name):
                continue
            if document.lang == "en":
                english.setdefault(document.name, document.blocks)
            else:
                others.setdefault((document.name, document.lang), document.blocks)
        for (name, lang), blocks in others.items():
            for en, text in align(english.get(name, ()), blocks):
                if en and text:
                    yield Pair(lang, en, text)

    return pairs


CODES = {"en": "en", "en-US": "en", "C": "en", "fr": "fr", "fr-FR": "fr", "de": "de",
         "de-DE": "de", "es": "es", "es-ES": "es", "eng": "en", "fra": "fr", "deu_1996": "de",
         "spa": "es"}  # fmt: skip
CODE_PATTERN = "|".join(sorted(CODES, key=len, reverse=True))


def by_folder(pattern: str) -> Locate:
    """Language is a folder: `LANG` in the pattern stands for its code; without it, English."""
    regex = re.compile(pattern.replace("LANG", rf"(?P<lang>{CODE_PATTERN})"))

    def locate(name: str) -> tuple[str, str] | None:
        match = regex.search(name)
        if match is None:
            return None
        if match["lang"] is None:
            return name, "en"
        return name[: match.start("lang")] + name[match.end("lang") + 1 :], CODES[match["lang"]]

    return locate


def by_suffix(pattern: str) -> Locate:
    """Language stands before the ending: `build.fr.html`; none of them means English."""
    regex = re.compile(pattern)

    def locate(name: str) -> tuple[str, str] | None:
        if not regex.search(name):
            return None
        stem = re.sub(r"\.html?(\.gz)?$", "", name).rsplit("/", 1)[-1]
        stem, _, code = stem.partition(".")
        if not code:
            return stem, "en"
        return (stem, CODES[code]) if code in CODES else None

    return locate


def locate_manual(name: str) -> tuple[str, str] | None:
    """`usr/share/man/fr/man1/ls.1.gz` and `usr/share/man/man1/ls.1.gz`."""
    match = re.search(r"share/man/(?:(fr|de|es)/)?man\d\w*/([^/]+?)(?:\.gz)?$", name)
    return (match[2], match[1] or "en") if match else None


def html(locate: Locate) -> Read:
    return documents(lambda content: blocks_of_markup(content, html=True), locate)


def xml(locate: Locate) -> Read:
    return documents(lambda content: blocks_of_markup(content, html=False), locate)


def manuals() -> Read:
    return documents(blocks_of_manual, locate_manual)
