"""Texts in segments: sentences to translate, and what lies between them and stays as it is."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from mtgen.errors import UnknownNameError
from mtgen.model.language import LANGS
from mtgen.tasks.protected import PROTECTED, added, lost, protected

__all__ = ["MAX_SEGMENT", "PROTECTED", "Segment", "added", "apart", "lost", "protected", "split"]

MAX_SEGMENT = 400
"""Characters of the longest segment that is translated; longer sentences are cut."""
LONG_LINE = 2000
"""Characters of a line that are looked at together."""


@dataclass(frozen=True)
class Segment:
    """A piece of a text."""

    text: str
    translate: bool
    """False for what stays as it is: spaces, line breaks, bullets, code, numbers."""


_WORD = re.compile(r"[^\W\d_]{2}")
_PLAIN_WORD = re.compile(r"(?<!\S)[^\W\d_]{2,}+[.,;:!?]?+(?!\S)")
_BRACKETS = re.compile(r"[`<{\[]")
"""Without these, what is protected has no spaces in it but within numbers."""
_WORD_OR_LETTER = re.compile(r"[^\W\d_]{2}|(?<!\w)[aàyoeuIAÀYOEU](?!\w)")
_FENCE = re.compile(r"[ \t]*(?:>[ \t]?)*(`{3,}(?=[^`]*\Z)|~{3,}(?=[^~]*\Z))")
_MARKUP = re.compile(
    r"\s*(?:(?:#{1,6}|[-*+•‣–—]|[a-z]\)|\[[ xX]\]"
    # "3. Oktober" begins a German sentence.
    r"|\d{1,3}(?:\)|\.(?!\s+(?:Jan|Feb|Mär|Apr|Mai\b|Juni|Juli|Aug|Sep|Okt|Nov|Dez))))(?=\s)\s*"
    r"|>\s?)*"
)
# Nothing is cut inside code, tags, link targets and placeholders: they are matched first.
_SOLID = r"`[^`\n]+`|<[^<>\n]{1,1000}>|\]\([^()\n]*\)|\{[^{}\n]{1,80}\}"
_PIPE = re.compile(rf"{_SOLID}|(?P<cut>(?<=\s)\|(?=\s))")
_STOP = re.compile(
    rf"{_SOLID}|(?:(?<![^\W\d_])(?P<word>[^\W\d_]++)|(?<![.!?…]))(?P<cut>[.!?…]++)"
    r"(?:\s?»(?!\w)|[\"'’”“«)\]*_~])*+[^\S\xa0\u202f]++(?=[¿¡\"'‘“„«»(\[*_~\s]*+(?P<next>.))",
    re.DOTALL,
)
_CUTS = tuple(
    re.compile(rf"{_SOLID}|(?P<cut>{cut})")
    for cut in (r"(?<=[^\W\d_]{5}[.!?…])\s+", r"(?<=[;:,])\s+", r"(?<!\d)\s+|(?<=\d)\s+(?!\d)")
)
_QUOTES = re.compile(r"[\"“”„«»()]")
_FOREIGN = re.compile(r"[^\t -Z\\\]-~\xa0-\u017f‘-„…–—]")
"""What pysbd is not shown: it fails on some of it, and is slow without end on `.[1111111111111`."""
_NEVER_LAST = frozenset(
    "mr mrs ms dr prof mgr mme mmes mlle mlles ste sr sra srta dra dña hr hrn frl ing lic dipl "
    "cnel ee approx aprox incl excl inkl exkl zzgl abzgl bspw abb bsp hrsg geb gest ebd kap abs "
    "aufl allg versch urspr eigtl insb gegr verh tel réf spéc dép janv févr okt dez".split()
)
"""Words whose stop ends no sentence, beside those that pysbd knows in the language."""


def _shorter(text: str, limit: int) -> Iterator[str]:
    """Cuts into parts of about equal length, up to `limit` where there are spaces.

    Cuts are made after stops, else after clauses, else at any space.
    """
    while len(text) > limit:
        goal = len(text) / math.ceil(len(text) / limit)
        window = text[:limit]
        ends = []
        for pattern in _CUTS:
            if ends := [m.end() for m in pattern.finditer(window) if m["cut"]]:
                break
        if ends:
            end = min(ends, key=lambda end: abs(end - goal))
        else:
            space = re.compile(r"\s").search(text, limit)
            end = space.end() if space else len(text)
        yield text[:end]
        text = text[end:]
    yield text


@lru_cache
def _abbreviations(lang: str) -> frozenset[str]:
    from pysbd.languages import Language

    known = Language.get_language_code(lang).Abbreviation.ABBREVIATIONS
    return frozenset(abbreviation.strip().lower() for abbreviation in known)


def _pysbd_starts(text: str, lang: str) -> set[int]:
    """Where pysbd sees sentences begin; nothing relies on its being right."""
    import pysbd

    text = _FOREIGN.sub("x", text)
    try:
        # Its processor alone: `segment` looks for spans slowly, and takes the first of two equals.
        sentences = pysbd.Segmenter(language=lang).processor(text).process()
    except Exception:  # it puts words of the text into patterns, so anything can come
        return set()
    starts, end = set(), 0
    for sentence in sentences:
        if (start := text.find(sentence, end)) >= 0:
            starts.add(start)
            end = start + len(sentence)
    return starts


def _sentences(text: str, lang: str) -> Iterator[str]:
    """Cuts at plain ends of sentences itself, and asks pysbd (slow) about the others."""

    def settled(start: int, end: int, doubts: list[int]) -> Iterator[str]:
        begins = _pysbd_starts(text[start:end], lang) if doubts else ()
        cuts = [start, *(doubt for doubt in doubts if doubt - start in begins), end]
        for one, next_one in itertools.pairwise(cuts):
            yield text[one:next_one]

    start, doubts = 0, []
    for stop in _STOP.finditer(text):
        if not stop["cut"] or stop["next"].islower():
            continue
        word, dot = (stop["word"] or "").lower(), stop["cut"] == "."
        if dot and word in _NEVER_LAST:
            continue
        if dot:
            plain = len(word) > 2 and word not in _abbreviations(lang)
        else:
            plain = not set(".…") & set(stop["cut"])  # a German noun may follow "..."
        closed = len(_QUOTES.findall(text, start, stop.end())) % 2 == 0
        if plain and closed and stop["next"].isupper():
            yield from settled(start, stop.end(), doubts)
            start, doubts = stop.end(), []
        else:
            doubts.append(stop.end())
    yield from settled(start, len(text), doubts)


def _piece(text: str, words: re.Pattern[str] = _WORD) -> Iterator[Segment]:
    """A piece without the spaces around it, to be translated if it has words of its own."""
    core = text.strip()
    plain = _PLAIN_WORD.search(core) and not _BRACKETS.search(core)
    if len(core) > MAX_SEGMENT or not (plain or words.search(PROTECTED.sub(" ", core))):
        yield Segment(text, False)
        return
    left = text.index(core)
    yield Segment(text[:left], False)
    yield Segment(core, True)
    yield Segment(text[left + len(core) :], False)


def _line(line: str, lang: str) -> Iterator[Segment]:
    start = markup.end() if (markup := _MARKUP.match(line)) else 0
    yield Segment(line[:start], False)
    if line.startswith("|", start):
        pipes = [m.start() for m in re.finditer(r"(?<!\\)\|", line)]
    else:
        pipes = [m.start() for m in _PIPE.finditer(line, start) if m["cut"]]
    for end in [*pipes, len(line)]:
        for part in _shorter(line[start:end], LONG_LINE):
            for sentence in _sentences(part, lang):
                for piece in _shorter(sentence, MAX_SEGMENT):
                    yield from _piece(piece)
        yield Segment(line[end : end + 1], False)
        start = end + 1


def _merged(segments: Iterator[Segment]) -> list[Segment]:
    """Without empty ones, and with what is not translated in one piece."""
    merged: list[Segment] = []
    kept: list[str] = []
    for segment in segments:
        if not segment.translate:
            kept.append(segment.text)
            continue
        merged += [Segment("".join(kept), False), segment]
        kept = []
    merged.append(Segment("".join(kept), False))
    return [segment for segment in merged if segment.text]


def split(text: str, lang: str) -> list[Segment]:
    """Sentences and what lies between them.

    Code between fences stays as it is, up to the end of the text where no fence closes it. So
    do segments without two letters in a row, and runs of over MAX_SEGMENT characters in which
    there is no space.

    Args:
        text: Any string.
        lang: One of LANGS, which decides on abbreviations.

    Returns:
        Segments that join to `text` exactly; those to translate have no spaces around them.

    Raises:
        UnknownNameError: `lang` is none of LANGS.
    """
    if lang not in LANGS:
        raise UnknownNameError("language", lang, LANGS)

    def lines() -> Iterator[Segment]:
        fence = ""
        for line in text.splitlines(keepends=True):
            mark = _FENCE.match(line)
            if fence or mark or not _WORD.search(line):
                yield Segment(line, False)
                if not fence:
                    fence = mark[1] if mark else ""
                elif mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                    fence = ""
            else:
                yield from _line(line, lang)

    return _merged(lines())


def apart(sentence: str) -> list[Segment]:
    """The sentence cut around its protected spans, which with their spaces are not translated.

    Joins to `sentence` exactly. Words between them are translated alone, which is worse than
    translating the sentence, and can lose nothing.
    """

    def pieces() -> Iterator[Segment]:
        start = 0
        for span in PROTECTED.finditer(sentence):
            yield from _piece(sentence[start : span.start()], _WORD_OR_LETTER)
            yield Segment(span[0], False)
            start = span.end()
        yield from _piece(sentence[start:], _WORD_OR_LETTER)

    return _merged(pieces())
