"""What a translation must keep as it is, and whether it did: addresses, placeholders, numbers."""

from __future__ import annotations

import re
from collections import Counter

import emoji

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
    r"<!--[^<>]{0,1000}-->|</?\d{1,3}/?>"  # numbered tags carry a document's formatting
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
    rf"|(?<![\w/.-])[\w-]++(?:[/.][\w-]++)*\.(?:{_ENDINGS})(?![/.]?\w)"
)
_NUMBER = (
    # 12 is a number in "12", "12th" and "12km", and none in "MP12" and "F-12".
    r"(?<![^\W_])(?<![^\W\d_]-)(?:(?<![\w.,)%-])[-−])?"
    r"(?:\d{1,2}\s?(?:h|Uhr)\s?\d{2}(?!\d)"
    r"|\d{1,3}(?:[ \xa0\u202f'’]\d{3})+(?!\d)(?:[.,]\d+)?"
    r"|\d++(?:[.,:/]\d++)*+)"
    r"(?:[^\W\d_]{1,4}(?![^\W_])|[ \xa0\u202f]?%(?!\w))?"
)
PROTECTED = re.compile(
    # Nothing begins at a space or within a word, which is most of a text.
    r"(?!\s|(?<=\w)[^\W\d_])(?:"
    + "|".join(
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
    + ")"
)
"""Spans that a translation must keep; group `number` may be written in another way."""


def protected(text: str) -> list[str]:
    """The spans that a translation must keep, in order."""
    return [span[0] for span in PROTECTED.finditer(text)]


def _key(span: re.Match[str]) -> str:
    """Equal for 1,234.56 and 1 234,56, for 9:40 and 9 h 40, for 9:00 and 9 h, for 3rd and 3."""
    if span.lastgroup != "number":
        return span[0].replace("\ufe0f", "")  # how an emoji is to be drawn
    digits = re.sub(r"\A\D+|\D+\Z", "", span[0])
    # Before three digits it may be either sign, so "0.125" and "0125" count as the same.
    digits = re.sub(r"\D+(?=\d{3}(?!\d))", "", digits)
    sign = "-" if span[0][0] in "-−" else ""
    digits = re.sub(r"\D+", ".", digits).removesuffix(".00")
    return sign + (digits.lstrip("0") or "0")


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
