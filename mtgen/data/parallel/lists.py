"""Reads bilingual word and sentence lists: package descriptions, dictionaries, Tatoeba."""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtgen.data.archives import members
from mtgen.data.packages import PackageError
from mtgen.data.parallel.pairs import LANGUAGES, Pair, normalise
from mtgen.data.sources import Files
from mtgen.model.language import unaccented


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


def ding_lines(files: Files) -> Iterator[tuple[str, str]]:
    """The German and the English half of each entry."""
    for archive in files.values():
        for _, content in members(archive, r"/trans/de-en$"):
            for line in content.decode("utf-8").splitlines():
                german, parted, english = line.partition(" :: ")
                if parted and not line.startswith("#"):
                    yield german, english


def ding(files: Files) -> Iterator[Pair]:
    """German phrases and sentences of the ding dictionary, without its single words.

    A line holds `German | phrase | phrase :: English | phrase | phrase`, alternatives parted by
    `;`, notes in brackets.
    """
    for german, english in ding_lines(files):
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


MIN_ZIPF = 3.0
"""Base-10 logarithm of occurrences in a billion words (wordfreq) that a dictionary's word has at
least: rarer ones are not worth the time of a small model, and words that a dictionary's history
has glued together are none of the language."""
SENSES = 2
"""First meanings of a word that are taken: the later ones are the rarer ones."""
FREEDICT_ENTRY = re.compile(r"(?P<head>[^/<]+?) /[^/\n]*/(?: <(?P<grammar>[^>]*)>)?")
FREEDICT_CODES = {"eng": "en", "fra": "fr", "deu": "de", "spa": "es"}
FRENCH_ARTICLES = {"masc": "le", "fem": "la"}
GERMAN_ARTICLES = {"m": "der", "f": "die", "n": "das"}


def commonest(options: Sequence[str], lang: str) -> str:
    """The commonest of words or phrases; none where all of them are rare."""
    from wordfreq import zipf_frequency

    ranked = [(zipf_frequency(text, lang), text) for text in options if text]
    frequency, text = max(ranked, default=(0.0, ""))
    return text if frequency >= MIN_ZIPF else ""


def freedict(files: Files) -> Iterator[Pair]:
    """Common words and short phrases of FreeDict's dictionaries from or into English.

    An entry is `word /pronunciation/ <grammar>`, then a line of translations with commas
    between, in the order of letters, or a numbered line of each meaning; the commonest of each is
    taken. French nouns whose gender is given get their article, and their twins get "the".
    """
    for archive in files.values():
        for name, content in members(archive, r"/freedict-\w+-\w+\.dict\.dz$"):
            src, tgt = (FREEDICT_CODES[code] for code in name.split(".")[0].split("-")[-2:])
            head, grammar, left = "", "", 0
            for line in gzip.decompress(content).decode("utf-8").replace("\u2010", "-").split("\n"):
                if entry := FREEDICT_ENTRY.fullmatch(line):
                    head, grammar, left = entry["head"], entry["grammar"] or "", SENSES
                elif head and left and line and not line.startswith(" "):
                    left -= 1
                    meanings = [x.strip() for x in re.sub(r"^\d+\. ", "", line).split(",")]
                    gender = FRENCH_ARTICLES.get(grammar.split(", ")[-1], "")
                    yield from word_pair(head, meanings, src, tgt, gender)


def word_pair(
    head: str, meanings: Sequence[str], src: str, tgt: str, article: str = ""
) -> Iterator[Pair]:
    """A pair of common words, English first; with articles where the other side has one.

    Args:
        head: A word in the language `src`.
        meanings: Of it, in `tgt`; one of the two languages is English.
        src: ISO 639-1.
        tgt: The same.
        article: Of the side that is not English, or none.
    """
    word, meaning = commonest([head], src), commonest(meanings, tgt)
    if not (word and meaning):
        return
    en, text, lang = (word, meaning, tgt) if src == "en" else (meaning, word, src)
    if article and en[:1].islower() and " " not in en + text:
        elided = lang == "fr" and normalise(unaccented(text))[:1] in "aeiouyh"
        en, text = f"the {en}", f"l'{text}" if elided else f"{article} {text}"
    yield Pair(lang, en, text)


def ding_words(files: Files) -> Iterator[Pair]:
    """Common single words of the ding dictionary, nouns with their articles."""
    for halves in ding_lines(files):
        de, en = (re.split(r" \| |;", DING_REMARK.sub("", side))[0].strip() for side in halves)
        gender = re.search(r"\{([mfn])\}", de)
        de, en = DING_NOTE.sub("", de).strip(), DING_NOTE.sub("", en).strip()
        if de and en and not re.search(r"[/,]|\s", de) and "/" not in en:
            en = re.sub(r"^to (?=\w)", "", en) if de[0].islower() else en
            article = GERMAN_ARTICLES[gender[1]] if gender else ""
            yield from word_pair(de, [en], "de", "en", article)


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
