"""Texts in segments: sentences to translate, what lies between, and what must survive as it is."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import emoji

from mtgen.errors import UnknownNameError
from mtgen.model.language import LANGS

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


# Every pattern below takes time linear in the text: where a run of characters could be entered
# at each of them, a look behind allows its first only, and `++` never gives characters back.

_SIGNS = "".join(
    sorted({c for e in emoji.EMOJI_DATA for c in e if c > "\xa0"} - set("\u200d\u20e3\ufe0f"))
)
_EMOJI = (
    rf"[0-9#*]\ufe0f?\u20e3|[\U0001f1e6-\U0001f1ff]{{2}}"
    rf"|[{_SIGNS}][\ufe0f\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*"
    rf"(?:\u200d[{_SIGNS}][\ufe0f\U0001f3fb-\U0001f3ff]*)*"
)
_NOT_IN_URL = r"\s<>()\"«»“”„`|"
_URL = (
    rf"(?<!\w)(?:(?:https?|ftp)://|www\.)(?:[^{_NOT_IN_URL}]|\([^{_NOT_IN_URL}]*\))+"
    r"(?<![.,;:!?…'’*_~\]}])"
)
_TAG = (
    r"<!--.{0,1000}?-->"
    r"|</?[A-Za-z][\w:-]{0,40}(?:\s+[\w:@.-]{1,80}(?:=(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>]+))?)*\s*/?>"
)
_PLACEHOLDER = (
    r"\{\{[^{}\n]{1,80}\}\}|\$?\{[^{}\s]{0,80}\}|\$[A-Za-z_]\w*"
    r"|(?<![\d%])%(?:\(\w{1,80}\)|\d{1,2}\$)?[-+#0]?\d*(?:\.\d+)?(?:[hlz]{0,2}[diouxXeEfgGcrsan]|@)"
    r"(?![^\W\d_])|%%"
    r"|(?<![\w:]):(?:[+-]1|[a-z][\w+-]{1,40}):(?!\w)"
)
_ENDINGS = (
    "com|org|net|io|py|txt|md|json|ya?ml|toml|csv|xml|html?|css|js|ts|pdf|png|jpe?g|gif|svg"
    "|zip|gz|exe|sh|docx?|xlsx?|pptx?|mp[34]|wav"
)
_PATH = (
    r"(?<![\w/.~-])(?:(?:~|\.{1,2})/|/[\w.+@-]++/)[\w.+@/-]*(?<![.])"
    r"|(?<!\w)[A-Za-z]:\\[^\s<>\"|?*]+(?<![.,;:!)])"
    rf"|(?<![\w/.-])[\w-]++(?:[/.][\w-]++)*+(?<=\.)(?:{_ENDINGS})\b"
)
_NUMBER = (
    # 12 is a number in "12", "12th" and "12km", and none in "MP12" and "F-12".
    r"(?<![^\W_])(?<![^\W\d_]-)(?:(?<![\w.,)%-])[-−])?"
    r"(?:\d{1,2}\s?(?:h|Uhr)\s?\d{2}(?!\d)"
    r"|\d{1,3}(?:[ \xa0\u202f'’]\d{3})+(?!\d)(?:[.,]\d+)?"
    r"|\d++(?:[.,:/]\d++)*+)"
    r"(?:[^\W\d_]{1,4}(?![^\W_])|[ \xa0\u202f]?%)?"
)
PROTECTED = re.compile(
    "|".join(
        (
            r"``[^\n]{1,1000}?``|`[^`\n]+`",
            _TAG,
            r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|[A-Za-z]\w{1,31});",
            r"\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:\s+\"[^\"\n]*\")?\)",
            r"!?\[(?=[^\[\]\n]{0,300}\]\()",
            _URL,
            r"(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+",
            _PLACEHOLDER,
            _EMOJI,
            _PATH,
            r"(?<!\w)v\d+(?:\.\d+)*(?:-\w+(?:\.\w+)*)?\b",
            # 1.2.3 is a version; 1.234.567 is a number and 24.12.2025 a day.
            r"(?<![\w.,])(?!\d{1,3}(?:\.\d{3})+(?![\d.]))(?!\d{1,2}\.\d{1,2}\.\d{2,4}(?![\d.]))"
            r"\d+(?:\.\d+){2,}(?:-\w+(?:\.\w+)*)?",
            r"(?<![\w-])\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2})?(?:Z|[+-]\d{2}:?\d{2})?)?(?!\w)",
            rf"(?P<number>{_NUMBER})",
            r"(?<![\w@])@\w++(?:[.-]\w++)*+|(?<![\w&#])#[^\W\d]\w*",
            r"(?<=[^\s*])\*++(?!\w)|(?<![\w*])\*++(?=\S)|(?<!\*)\*\*++(?=\S)",
            r"(?<!\w)_++(?=\S)|(?<=[^\s_])_++(?![^\W_])|~~",
        )
    )
)
"""Spans that a translation must keep; group `number` may be written in another way."""

_WORD = re.compile(r"[^\W\d_]{2}")
_WORD_OR_LETTER = re.compile(r"[^\W\d_]{2}|(?<!\w)[aàyoeuIAÀYOEU](?!\w)")
_FENCE = re.compile(r"[ \t]*(?:>[ \t]?)*(`{3,}(?=[^`]*\Z)|~{3,})")
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
    rf"{_SOLID}|(?<![^\W\d_])(?P<word>[^\W\d_]*+)(?P<cut>[.!?…]++)"
    r"(?:\s?»|[\"'’”“«)\]*_~])*+[^\S\xa0\u202f]++(?=[¿¡\"'‘“„«»(\[*_~\s]*+(?P<next>.))",
    re.DOTALL,
)
_CUTS = tuple(
    re.compile(rf"{_SOLID}|(?P<cut>{cut})")
    for cut in (r"(?<=[.!?…])\s+", r"(?<=[;:,])\s+", r"(?<!\d)\s+|(?<=\d)\s+(?!\d)")
)
_QUOTES = re.compile(r"[\"“”„«»()]")
_FOREIGN = re.compile(r"[^\t -Z\\\]-~\xa0-\u017f‘-„…–—]")
"""What pysbd is not shown: it fails on some of it, and is slow without end on `.[1111111111111`."""
_TITLES = frozenset(
    "mr mrs ms dr prof mme mmes mlle mlles sr sra srta dra hr frl ing lic ee".split()
)
"""Words whose stop ends no sentence; pysbd lacks them in some of its languages."""


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
    """Where pysbd sees sentences begin; its spans can be wrong, and nothing relies on them."""
    import pysbd

    # A new one for each text, since it keeps the text in itself and threads would mix them up.
    segmenter = pysbd.Segmenter(language=lang, clean=False, char_span=True)
    try:
        return {span.start for span in segmenter.segment(_FOREIGN.sub("x", text))}
    except Exception:  # it puts words of the text into patterns, so anything can come
        return set()


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
        word, dot = stop["word"].lower(), stop["cut"] == "."
        if dot and word in _TITLES:
            continue
        plain = (
            len(word) > 3 and word not in _abbreviations(lang) if dot else "." not in stop["cut"]
        )
        closed = len(_QUOTES.findall(text, start, stop.end())) % 2 == 0
        if plain and closed and stop["next"].isupper() and "…" not in stop["cut"]:
            yield from settled(start, stop.end(), doubts)
            start, doubts = stop.end(), []
        else:
            doubts.append(stop.end())
    yield from settled(start, len(text), doubts)


def _piece(text: str, words: re.Pattern[str] = _WORD) -> Iterator[Segment]:
    """A piece without the spaces around it, to be translated if it has words of its own."""
    core = text.strip()
    if len(core) > MAX_SEGMENT or not words.search(PROTECTED.sub(" ", core)):
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
            if fence or mark:
                yield Segment(line, False)
                if not fence and mark:
                    fence = mark[1]
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


def protected(text: str) -> list[str]:
    """The spans that a translation must keep, in order."""
    return [span[0] for span in PROTECTED.finditer(text)]


def _key(span: re.Match[str]) -> str:
    """Equal for 1,234.56 and 1 234,56, for 9:40 and 9 h 40, and for 3rd and 3."""
    if span.lastgroup != "number":
        return span[0]
    digits = re.sub(r"\A\D+|\D+\Z", "", span[0])
    # Before three digits it may be either sign, so "0.125" and "0125" count as the same.
    digits = re.sub(r"\D+(?=\d{3}(?!\d))", "", digits)
    sign = "-" if span[0][0] in "-−" else ""
    return sign + (re.sub(r"\D+", ".", digits).lstrip("0") or "0")


def lost(source: str, translation: str) -> tuple[str, ...]:
    """Protected items of `source`, as often as `translation` lacks them."""
    there = Counter(_key(span) for span in PROTECTED.finditer(translation))
    missing = []
    for span in PROTECTED.finditer(source):
        key = _key(span)
        if not there[key]:
            missing.append(span[0])
        there[key] -= there[key] > 0
    return tuple(missing)


def added(source: str, translation: str) -> tuple[str, ...]:
    """Protected items of `translation` that `source` has not, or has less often."""
    return lost(translation, source)
