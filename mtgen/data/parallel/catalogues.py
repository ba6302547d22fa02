"""Reads translations kept as message catalogues: gettext, JSON by key, Qt, Lua."""

from __future__ import annotations

import html
import json
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mtgen.data.archives import members
from mtgen.data.calibration import is_calibration
from mtgen.data.packages import PackageError
from mtgen.data.parallel.pairs import LANGUAGES, Pair
from mtgen.data.sources import Files

LOCALE = {"fr": ("fr", "fr_FR"), "de": ("de", "de_DE"), "es": ("es", "es_ES")}
LOCALES = {locale: lang for lang, locales in LOCALE.items() for locale in locales}


MO_PATH = re.compile(
    rf"(?:^|/)(?:(?P<folder>{'|'.join(LOCALES)})/(?:LC_MESSAGES/)?[^/]*"
    rf"|(?:[^/]*-)?(?P<file>{'|'.join(LOCALES)}))\.mo$"
)
"""`fr/LC_MESSAGES/gimp.mo` and `admin-fr_FR.mo`."""


def gettext(files: Files) -> Iterator[Pair]:
    """Pairs from every compiled catalogue of the packages; keys are the English text."""
    import polib

    for archive in files.values():
        for name, content in members(archive, MO_PATH.pattern):
            match = MO_PATH.search(name)
            assert match is not None
            with tempfile.NamedTemporaryFile(suffix=".mo") as file:  # polib reads paths only
                file.write(content)
                file.flush()
                try:
                    catalogue = polib.mofile(file.name)
                except (OSError, ValueError, struct.error, LookupError):
                    continue  # not in UTF-8, or not gettext's
            lang = LOCALES[match["folder"] or match["file"]]
            for entry in catalogue:
                if entry.msgid_plural:
                    forms = entry.msgstr_plural
                    if len(forms) >= 2:
                        yield from catalogue_pair(lang, entry.msgid, forms[min(forms)])
                        yield from catalogue_pair(lang, entry.msgid_plural, forms[max(forms)])
                else:
                    yield from catalogue_pair(lang, entry.msgid, entry.msgstr)


AMPERSAND = re.compile(r"(?<![&\w])&(?=\w)|(?<=[a-zß-ÿ])&(?=[a-zß-ÿ])")
UNDERSCORE = re.compile(r"\S*_\S*")
TILDE = re.compile(r"~(?=[A-Za-zÀ-ÿ])")
"""Marks of keyboard accelerators: Qt's and KDE's, GTK's, LibreOffice's."""

KDE_CONTEXT = re.compile(r"^_:[^\n]*?(?:\\n|\n)")


def catalogue_pair(lang: str, en: str, text: str) -> Iterator[Pair]:
    """Cleans what belongs to the user interface, not to the sentence."""
    en, text = (html.unescape(KDE_CONTEXT.sub("", side)) for side in (en, text))
    if not en or not text:
        return
    if en.count("\n\n") == text.count("\n\n"):  # paragraphs of a long message
        for a, b in zip(en.split("\n\n"), text.split("\n\n"), strict=True):
            if a.strip() and b.strip():
                yield Pair(lang, plain(a), plain(b))


def plain(text: str) -> str:
    """A message without its keyboard accelerator; a mark is single, prose has none or several.

    "_Open File" and "Fo_nt" lose their mark; "MAX_SIZE", "my_name", "AT&T" and "~/.config" stay.
    """
    for mark in (AMPERSAND, TILDE):
        if len(mark.findall(text)) == 1:
            text = mark.sub("", text)
    words = UNDERSCORE.findall(text)
    if len(words) == 1 and words[0].count("_") == 1:
        word = words[0]
        before, _, after = word.partition("_")
        starts = not before.strip("(\"'«“„")
        is_name = word.isupper() or (not starts and not before[0].isupper())
        if after[:1].isalpha() and (starts or (before.isalpha() and not is_name)):
            text = text.replace(word, before + after)
    return text


def json_by_key(english: str, translated: str):
    """Reader for JSON files that have the same keys in every language.

    Args:
        english: Regular expression of the English files; the group `doc` is what the files of
            one document have in common.
        translated: The same for the others, with a group `locale` as well.
    """

    either = re.sub(r"\(\?P<\w+>", "(?:", f"{english}|{translated}")

    def read(files: Files) -> Iterator[Pair]:
        for archive in files.values():
            originals: dict[str, dict[str, str]] = {}
            others: list[tuple[str, str, dict[str, str]]] = []
            for name, content in members(archive, either):
                try:
                    messages = dict(flatten(json.loads(content)))
                except ValueError:
                    continue
                if match := re.search(english, name):
                    originals[match["doc"]] = messages
                elif match := re.search(translated, name):
                    lang = LOCALES.get(match["locale"].replace("-", "_"))
                    if lang:
                        others.append((match["doc"], lang, messages))
            for document, lang, messages in others:
                for key, text in messages.items():
                    if en := originals.get(document, {}).get(key):
                        yield Pair(lang, en, text)

    return read


def flatten(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Strings in nested JSON objects by their path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not str(key).startswith("@"):  # MediaWiki's metadata
                yield from flatten(inner, f"{prefix}\0{key}")
    elif isinstance(value, str):
        yield prefix, value


QM_MAGIC = bytes.fromhex("3cb86418caef9c95cd211cbf60a1bddd")


def qt(files: Files) -> Iterator[Pair]:
    """Pairs from compiled Qt catalogues that carry their source texts (`x_fr.qm`)."""
    for archive in files.values():
        for name, content in members(archive, r"_(fr|de|es)\.qm$"):
            yield from qm_pairs(content, name[-5:-3])


def qm_pairs(content: bytes, lang: str) -> Iterator[Pair]:
    """Pairs of one `.qm` file.

    Source: Qt, qtranslator.cpp: blocks of (tag byte, length, data); in the messages block (0x69)
    items 3 translation (UTF-16BE), 6 source text, 7 context, 8 comment, 1 end.
    """
    if not content.startswith(QM_MAGIC):
        raise PackageError("a .qm file does not start as Qt's do")
    place = 16
    while place + 5 <= len(content):
        tag, size = struct.unpack_from(">BI", content, place)
        place += 5
        if tag == 0x69:
            yield from qm_messages(content[place : place + size], lang)
        place += size


def qm_messages(block: bytes, lang: str) -> Iterator[Pair]:
    place = 0
    source, translations = "", []
    while place < len(block):
        tag = block[place]
        place += 1
        if tag == 1:
            if source and len(translations) == 1:
                yield Pair(lang, source, translations[0])
            source, translations = "", []
        elif tag in (3, 6, 7, 8):
            (size,) = struct.unpack_from(">I", block, place)
            place += 4
            if size == 0xFFFFFFFF:
                continue
            data = block[place : place + size]
            place += size
            if tag == 3:
                translations.append(data.decode("utf-16-be", "replace"))
            elif tag == 6:
                source = data.decode("utf-8", "replace").rstrip("\0")
        else:  # 2, 4, 5: obsolete four-byte fields
            place += 4


LUA_ID = re.compile(r'dialogId\("([^"]+)",\s*"[^"]*",\s*"((?:[^"\\]|\\.)*)"\)')
LUA_STR = re.compile(r'dialogStr\("((?:[^"\\]|\\.)*)"\)')


def lua_dialogues(files: Files) -> Iterator[Pair]:
    """Comic dialogues of Fish Fillets: the English line stands above its translation."""
    for archive in files.values():
        for name, content in members(archive, r"/dialogs_(fr|de|es)\.lua$"):
            lang = name[-6:-4]
            pending = None
            for line in content.decode("utf-8", "replace").splitlines():
                if match := LUA_ID.search(line):
                    pending = match[2]
                elif (match := LUA_STR.search(line)) and pending is not None:
                    yield Pair(lang, unescape(pending), unescape(match[1]))
                    pending = None


def unescape(text: str) -> str:
    return text.replace('\\"', '"').replace("\\n", " ").replace("\\\\", "\\")


def cldr_names(files: Files) -> Iterator[Pair]:
    """Names of things, countries and languages from Unicode's locale data."""
    tables: dict[tuple[str, str], dict[str, str]] = {}
    pattern = r"/(en|fr|de|es)/(annotations|annotations-derived|territories|languages)\.json$"
    for archive in files.values():
        for name, content in members(archive, pattern):
            match = re.search(pattern, name)
            assert match is not None
            flat = {key: value for key, value in flatten_cldr(json.loads(content), match[1])}
            tables[f"{archive.name}/{match[2]}", match[1]] = flat
    for (kind, lang), table in tables.items():
        if lang in LANGUAGES:
            english = tables.get((kind, "en"), {})
            for key, text in table.items():
                if en := english.get(key):
                    yield Pair(lang, en, text)


def flatten_cldr(value: object, lang: str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Strings by path, the language's own name in the path left out; lists give the first item."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in {"identity", "default"}:
                continue
            yield from flatten_cldr(inner, lang, f"{prefix}\0{'' if key == lang else key}")
    elif isinstance(value, list) and prefix.endswith("tts"):
        yield prefix, value[0]
    elif isinstance(value, str) and "-alt-" not in prefix:
        yield prefix, value


Verse = tuple[int, int, int]
"""Book, chapter, verse."""


def bible_verses(files: Files) -> dict[Verse, dict[str, str]]:
    """Verses of Bibles in the public domain: en, en-basic, fr, de and es, in the books' order."""
    import sqlite3

    editions = {"4": "en", "3": "en-basic", "l": "fr", "e": "de", "v": "es"}
    verses: dict[Verse, dict[str, str]] = {}
    [archive] = files.values()
    for _, content in members(archive, r"/bible\.db$"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bible.db"
            path.write_bytes(content)
            with sqlite3.connect(path) as connection:
                marks = ",".join("?" * len(editions))
                rows = connection.execute(
                    "select bbName, bNumber, cNumber, vNumber, vText from bible "
                    f"where bbName in ({marks}) order by 2, 3, 4, 1",
                    list(editions),
                ).fetchall()
            connection.close()
        for edition, book, chapter, verse, text in rows:
            lang = editions[edition]
            text = text.replace("`", "'")
            verses.setdefault((book, chapter, verse), {})[lang] = (
                modern(text) if lang == "es" else text
            )
    return verses


def sqlite_bible(files: Files) -> Iterator[Pair]:
    """Pairs of verses, with two English versions; chapters for calibration are left out."""
    for (book, chapter, _), texts in bible_verses(files).items():
        if is_calibration("bible", f"{book}-{chapter}"):
            continue
        for lang in LANGUAGES:
            for english in ("en", "en-basic"):
                if english in texts and lang in texts:
                    yield Pair(lang, texts[english], texts[lang])


OLD_ACCENTS = {"á": "a", "é": "e", "ó": "o", "ú": "u", "fué": "fue", "fuí": "fui", "dió": "dio",
               "vió": "vio"}  # fmt: skip
OLD_WORDS = re.compile(rf"\b({'|'.join(OLD_ACCENTS)})\b", re.IGNORECASE)


def modern(text: str) -> str:
    """Spanish of 1909 in the spelling of today, where single words wore an accent."""

    def replace(match: re.Match[str]) -> str:
        word = OLD_ACCENTS[match[1].lower()]
        return word.capitalize() if match[1][0].isupper() else word

    return OLD_WORDS.sub(replace, text)
