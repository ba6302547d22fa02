"""What every kind of document shares: its pieces, its encoding, its limits and its notes."""

from __future__ import annotations

import codecs
import re
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mtgen.errors import DocumentError

MAX_BYTES = 5_000_000
MAX_CHARACTERS = 200_000
"""Of text to translate, in all pieces of a document."""
MAX_LINES = 200_000
"""Of a text file, blank ones too."""

# Without letters of their own: tags, placing codes of subtitles, addresses.
_NO_WORDS = re.compile(r"</?[A-Za-z0-9][^<>]*>|\{\\[^{}]*\}|\b(?:https?://|www\.)[^\s<>()]+")
# Controls but tab and line breaks, halves of character pairs, and what XML refuses.
_CONTROL = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file as texts to translate, and the way back to a file of the same kind."""

    kind: str
    """The suffix without its dot, such as `srt`."""
    pieces: tuple[str, ...]
    """Texts to translate, in the document's order; each may hold line breaks and inline tags."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was left as it is, and why."""
    write: Callable[[Sequence[str | None]], bytes] = field(repr=False)
    """Takes a cleaned translation or None for each piece; call `written` instead."""

    def written(self, translations: Sequence[str | None]) -> bytes:
        """The file with its pieces replaced; everything else stays as it was.

        Args:
            translations: One for each piece. None or a blank one keeps the original text.
                Control characters, which a model can write, are dropped.

        Raises:
            DocumentError: not as many translations as pieces.
        """
        if len(translations) != len(self.pieces):
            raise DocumentError(
                f"{len(translations)} translations were given for {len(self.pieces)} pieces; "
                "give one for each, or None where the original stays"
            )
        return self.write([clean(translation) for translation in translations])


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where a piece stands in a text."""

    start: int
    end: int
    piece: str
    fit: Callable[[str], str]
    """Makes a translation fit into its place: quotes, escapes, line breaks."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A text with all that is needed to write it in its own encoding again."""

    text: str
    bom: bytes
    codec: str

    def encode(self, text: str) -> bytes:
        """Bytes in the encoding of the original."""
        return self.bom + text.encode(self.codec)


def clean(translation: str | None) -> str | None:
    """A translation without surrounding blanks and control characters; None where none is left."""
    if translation is None:
        return None
    text = translation.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text).strip() or None


def has_words(text: str) -> bool:
    """Whether there is a letter to translate outside of tags and addresses."""
    return any(char.isalpha() for char in _NO_WORDS.sub("", text))


def has_control(text: str) -> bool:
    """Whether a piece holds what no translator reads."""
    return _CONTROL.search(text) is not None


def check_length(name: str, num_characters: int) -> None:
    """Refuses more text than MAX_CHARACTERS.

    Raises:
        DocumentError: it is longer.
    """
    if num_characters > MAX_CHARACTERS:
        raise DocumentError(
            f"{name} has more than {MAX_CHARACTERS:,} characters of text, which is the most that "
            "is translated at once; cut it into parts"
        )


def decode(name: str, content: bytes) -> Encoded:
    """Reads UTF-8, or UTF-16 that starts with its mark.

    Raises:
        DocumentError: binary, in another encoding, or of too many lines.
    """
    bom, codec = next(
        ((bom, codec) for bom, codec in _BOMS if content.startswith(bom)), (b"", "utf-8")
    )
    try:
        text = content[len(bom) :].decode(codec)
    except UnicodeDecodeError as error:
        if codec == "utf-8" and b"\0" in content:
            text = "\0"
        else:
            what = "UTF-8" if codec == "utf-8" else "UTF-16, as its first bytes say"
            raise DocumentError(
                f"{name} is not in {what} (byte {len(bom) + error.start:,} does not fit); save it "
                "as UTF-8 and give it again"
            ) from None
    if "\0" in text:
        raise DocumentError(
            f"{name} holds binary data; give a text in UTF-8, or in UTF-16 that starts with its "
            "byte order mark"
        )
    if text.count("\n") + text.count("\r") > 2 * MAX_LINES or len(lines(text)) > MAX_LINES:
        raise DocumentError(
            f"{name} has more than {MAX_LINES:,} lines, which is the most that is read; cut it "
            "into parts"
        )
    return Encoded(text=text, bom=bom, codec=codec)


def lines(text: str) -> list[tuple[int, int]]:
    """(start, end) of each line without its line break, which is LF, CRLF or CR."""
    spans, start = [], 0
    for match in re.finditer(r"\r\n|\r|\n", text):
        spans.append((start, match.start()))
        start = match.end()
    return [*spans, (start, len(text))]


def listed(what: str, numbers: Sequence[int | str], problem: str) -> list[str]:
    """A note such as `Cues 3 and 14 have a broken time line and were left as they are.`

    Returns:
        No note for no numbers; at most four numbers are named.
    """
    if not numbers:
        return []
    if len(numbers) == 1:
        return [f"{what} {numbers[0]} has {problem} and was left as it is."]
    named = [str(number) for number in numbers[:4]]
    last = f"{len(numbers) - 4:,} more" if len(numbers) > 4 else named.pop()
    names = f"{', '.join(named)} and {last}"
    return [f"{what}s {names} have {problem} and were left as they are."]


def one_line(translation: str) -> str:
    """For places where a line break would change the structure."""
    return " ".join(translation.split("\n"))


def text_document(
    kind: str, encoded: Encoded, spans: Sequence[Span], notes: Sequence[str] = ()
) -> Document:
    """A document of which nothing but `spans` can change.

    Args:
        spans: In order, not overlapping. Those without words are dropped, and those with
            control characters too, with a note.
    """
    text = encoded.text
    wordy = [span for span in spans if has_words(span.piece)]
    kept = [span for span in wordy if not has_control(span.piece)]
    starts = [start for start, _ in lines(text)]
    bad = [bisect(starts, span.start) for span in wordy if has_control(span.piece)]

    def write(translations: Sequence[str | None]) -> bytes:
        parts, position = [], 0
        for span, translation in zip(kept, translations, strict=True):
            if translation is None or translation == span.piece:
                continue
            parts += [text[position : span.start], span.fit(translation)]
            position = span.end
        return encoded.encode("".join([*parts, text[position:]]))

    return Document(
        kind=kind,
        pieces=tuple(span.piece for span in kept),
        notes=(*notes, *listed("Line", bad, "a control character")),
        write=write,
    )
