"""Reads bilingual word and sentence lists: package descriptions, ding, Tatoeba, our own pairs."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from pathlib import Path

from mtgen.data.archives import members
from mtgen.data.packages import PackageError
from mtgen.data.parallel.pairs import LANGUAGES, Pair
from mtgen.data.sources import Files


def package_descriptions(texts: dict[str, str]) -> Iterator[Pair]:
    """Pairs of paragraphs from Debian's package descriptions.

    Args:
        texts: By language, deb822 text of the Translation indices (Debian Policy 5.6.13: a line
            " ." parts paragraphs, lines that begin with two spaces are verbatim).
    """
    english = dict(descriptions(texts["en"]))
    for lang in LANGUAGES:
        for digest, paragraphs in descriptions(texts.get(lang, "")):
            originals = english.get(digest, [])
            if len(originals) == len(paragraphs):
                for en, text in zip(originals, paragraphs, strict=True):
                    if en and text:
                        yield Pair(lang, en, text)


def descriptions(index: str) -> Iterator[tuple[str, list[str]]]:
    """MD5 of the English description, and the paragraphs in this index's language."""
    for stanza in index.split("\n\n"):
        digest = re.search(r"^Description-md5: (\w+)$", stanza, re.MULTILINE)
        text = re.search(r"^Description-\w\w(?:_\w\w)?: (.*(?:\n .*)*)", stanza, re.MULTILINE)
        if digest is None or text is None:
            continue
        short, *lines = text[1].split("\n")
        paragraphs, current = [short], []
        for line in [*lines, " ."]:
            listed = line.startswith("  ") or re.match(r" [*•-] ", line)
            if (line == " ." or listed) and current:
                paragraphs.append(" ".join(current))
                current = []
            if line != " .":
                if line.startswith("  ") and not re.match(r"  +[*•-] ", line):
                    # verbatim, or the continuation of a list item
                    if paragraphs and listed and re.match(r"[*•-] ", paragraphs[-1]):
                        paragraphs[-1] += " " + line.strip()
                    else:
                        paragraphs.append("")
                elif listed:
                    paragraphs.append(line.strip())
                else:
                    current.append(line.strip())
        yield digest[1], paragraphs


DING_NOTE = re.compile(r"\s*(?:\{[^}]*\}|\[[^\]]*\]|<[^>]*>)")
DING_REMARK = re.compile(r"\s*\([^)]*\)")
DING_SHORT = {
    "sth.": "something", "sb.": "somebody", "sb.'s": "somebody's", "sb.’s": "somebody’s",
    "etw.": "etwas", "jdn.": "jemanden", "jdm.": "jemandem", "jds.": "jemandes", "jd.": "jemand",
}  # fmt: skip
DING_SHORT_WORD = re.compile(
    rf"(?<!\w)({'|'.join(map(re.escape, sorted(DING_SHORT, key=len, reverse=True)))})"
)


def ding(files: Files) -> Iterator[Pair]:
    """German phrases and sentences of the ding dictionary, without its single words.

    A line holds `German | phrase | phrase :: English | phrase | phrase`, alternatives parted by
    `;`, notes in brackets.
    """
    for archive in files.values():
        for _, content in members(archive, r"/trans/de-en$"):
            for line in content.decode("utf-8").splitlines():
                if line.startswith("#") or " :: " not in line:
                    continue
                german, english = line.split(" :: ", 1)
                left, right = german.split(" | "), english.split(" | ")
                if len(left) != len(right):
                    continue
                for de, en in zip(left, right, strict=True):
                    de, en = (DING_NOTE.sub("", side).strip() for side in (de, en))
                    yield from ding_entry(de, en)


def ding_entry(de: str, en: str) -> Iterator[Pair]:
    """Alternatives in the same number are twins; else the first of each."""
    des, ens = ([part.strip() for part in side.split(";")] for side in (de, en))
    twins = zip(des, ens, strict=True) if len(des) == len(ens) else [(des[0], ens[0])]
    for a, b in twins:
        a, b = DING_REMARK.sub("", a).strip(), DING_REMARK.sub("", b).strip()
        # slashes give alternatives of single words; phrases only
        if "/" in a or "/" in b or len(a.split()) < 2 or len(b.split()) < 2:
            continue
        yield Pair("de", written_out(b), written_out(a))


def written_out(text: str) -> str:
    """A dictionary phrase with its abbreviations for something and somebody in full."""
    return DING_SHORT_WORD.sub(lambda match: DING_SHORT[match[1]], text)


def tatoeba(folder: Path) -> Iterator[Pair]:
    """Sentence pairs that the user fetched from tatoeba.org: `en-fr.tsv`, plain or `.xz`.

    Each line holds English, a tab, the translation; further columns are passed over. The site's
    own export (`id, English, id, translation`) is understood as well.

    Raises:
        PackageError: the folder holds none of the files.
    """
    found = False
    for lang in LANGUAGES:
        for path in (folder / f"en-{lang}.tsv", folder / f"en-{lang}.tsv.xz"):
            if not path.is_file():
                continue
            found = True
            opened = lzma.open if path.suffix == ".xz" else open
            with opened(path, "rt", encoding="utf-8") as file:
                for line in file:
                    fields = line.rstrip("\n").split("\t")
                    if len(fields) >= 4 and fields[0].isdigit() and fields[2].isdigit():
                        fields = [fields[1], fields[3]]
                    if len(fields) >= 2:
                        yield Pair(lang, fields[0], fields[1])
            break
    if not found:
        names = ", ".join(f"en-{lang}.tsv" for lang in LANGUAGES)
        raise PackageError(f"{folder} holds no sentence pairs; Tatoeba's are named {names}")
