"""Builds the parallel text: reads, filters, de-duplicates, holds out, splits."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mtgen.data import near
from mtgen.data.build import (
    BuildOptions,
    Job,
    Missing,
    SourceReport,
    clean_outputs,
    clean_work,
    fetch_needed,
    finish,
    gather,
    write_table,
)
from mtgen.data.cards import CardTexts, card, notice
from mtgen.data.packages import PackageError, PackageStore
from mtgen.data.parallel import lists
from mtgen.data.parallel.filters import OFFENSIVE_WORDS, REASONS, OffensiveWords, refusal
from mtgen.data.parallel.held_out import held_out_units, read_hashes, sentence_hash
from mtgen.data.parallel.occupations import gendered_counterfactuals
from mtgen.data.parallel.pairs import LANGUAGES, Pair, normalise, split_pair, tidy
from mtgen.data.parallel.sources import DICTIONARIES, HELD_OUT, SOURCES, TATOEBA
from mtgen.data.sources import Source, select
from mtgen.model.trunk import sha256_of

NEAR_TRAIN = 0.85
"""Similarity of both sides together from which the later of two training pairs is dropped."""

NEAR_HELD_OUT = 0.8
"""Similarity of one side to a held-out sentence from which a training pair is dropped."""

VALIDATION_SHARE = 0.005
"""Share of English sentences, with all their translations, that are kept for validation."""

SCHEMA = pa.schema(
    [
        pa.field("src_lang", pa.string()),
        pa.field("tgt_lang", pa.string()),
        pa.field("en", pa.string()),
        pa.field("translation", pa.string()),
        pa.field("source", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("licence_family", pa.string()),
        pa.field("weight", pa.float32()),
        pa.field("counterfactual", pa.bool_()),
        pa.field("gender", pa.string()),
    ]
)
"""weight: the source's relative share in training. gender: m or f, set for counterfactuals."""

SHARD = pa.schema(
    [("lang", pa.string()), ("en", pa.string()), ("text", pa.string()), ("gender", pa.string())]
)


def read_source(job: Job) -> Iterator[tuple[Pair, str | None]]:
    """Raw pairs of one source, with the gender of counterfactual ones."""
    if job.source == "occupations":
        yield from gendered_counterfactuals()
        return
    if job.source == TATOEBA.name:
        pairs = lists.tatoeba(job.extra["folder"])
    elif job.source == "package-descriptions":
        texts = {lang: path.read_text("utf-8") for lang, path in job.extra["texts"].items()}
        pairs = lists.package_descriptions(texts)
    else:
        [source] = [item for item in (*SOURCES, *HELD_OUT) if item.name == job.source]
        pairs = source.read(job.files)
    for pair in pairs:
        yield pair, None


def extract(job: Job) -> dict[str, Any]:
    """Reads and filters one source into its shard."""
    words = OffensiveWords.from_package(job.extra["offensive"])
    counts: dict[str, Counter[str]] = {lang: Counter() for lang in LANGUAGES}
    columns: dict[str, list] = defaultdict(list)
    seen: set[tuple[str, str, str]] = set()
    held_out = job.kind == "held-out"
    for raw, gender in read_source(job):
        count = counts[raw.lang]
        tidied = Pair(raw.lang, tidy(raw.en), tidy(raw.text))
        for pair in [tidied] if held_out or gender else split_pair(tidied):
            count["read"] += 1
            if pair in seen:
                count["repeated"] += 1
                continue
            seen.add(pair)
            reason = refusal(pair)
            if (
                reason is None
                and not gender
                and (words.found_in(pair.en, "en") or words.found_in(pair.text, pair.lang))
            ):
                reason = "offensive"
            if reason:
                count[reason] += 1
                continue
            count["kept"] += 1
            for name, value in zip(("lang", "en", "text", "gender"), (*pair, gender), strict=True):
                columns[name].append(value)
    arrays = [pa.array(columns[name], SHARD.field(name).type) for name in SHARD.names]
    write_table(pa.Table.from_arrays(arrays, schema=SHARD), job.shard)
    return {lang: dict(count) for lang, count in counts.items()}


def build(options: BuildOptions, store: PackageStore) -> tuple[dict[str, Any], list[Missing]]:
    """Builds `OUT/parallel`.

    Returns:
        The manifest, and the sources that are missing.

    Raises:
        PackageError: not even one source can be had, or the offensive word list cannot.
    """
    available = SOURCES + ((TATOEBA,) if options.tatoeba else ())
    if "tatoeba" in options.only and not options.tatoeba:
        available = (*available, TATOEBA)
    chosen = select(available, only=options.only, licences=options.licenses)
    needed = fetch_needed(store, [OFFENSIVE_WORDS], options, "the list of offensive words")
    words_sha256 = store.used[OFFENSIVE_WORDS].sha256

    def extra_of(source: Source) -> dict[str, Any] | PackageError:
        extra: dict[str, Any] = {"offensive": needed[OFFENSIVE_WORDS], "stamp": words_sha256}
        if source.name == TATOEBA.name:
            if options.tatoeba is None:
                return PackageError("no package holds it; give its folder with --tatoeba DIR")
            extra["folder"] = options.tatoeba
            files = sorted(options.tatoeba.glob("en-*.tsv*"))
            extra["stamp"] = [words_sha256, *((path.name, sha256_of(path)) for path in files)]
        if source.needs_apt:
            try:
                extra["texts"], extra["stamp"] = save_descriptions(store, options)
            except PackageError as error:
                return error
        return extra

    held_shards, held_reports, held_missing = gather_held_out(store, options, extra_of)
    shards, reports, missing = gather("parallel", chosen, extract, store, options, extra_of)
    missing += [
        Missing(
            name=f"held-out {item.name}", expected=item.expected,
            reason=f"{item.reason}; its sentences stay out by their hashes, near ones do not",
        )
        for item in held_missing
    ]  # fmt: skip
    if not options.only and not options.tatoeba:
        missing.append(
            Missing(
                name=TATOEBA.name, expected=TATOEBA.expected, optional=True,
                reason="no package holds it; give its folder with --tatoeba DIR",
            )
        )  # fmt: skip
    sources = {source.name: source for source in chosen}
    folder = options.out / "parallel"
    outputs: list[Path] = []
    stages: dict[str, Any] = {}
    samples: dict[str, list[dict[str, str]]] = {}
    held_tables = held_out_tables(held_shards)
    hashes = held_out_hashes(held_tables)
    published = {item.name for item in select(HELD_OUT, only=[], licences=options.licenses)}
    for lang in LANGUAGES:
        table, stages[f"en-{lang}"] = merge(lang, shards, sources, held_tables, hashes)
        train, validation = split_rows(table)
        for split, mask in (("validation", validation), ("train", train)):
            path = folder / f"en-{lang}" / f"{split}.parquet"
            part = table.filter(pa.array(mask))
            write_table(part, path)
            outputs.append(path)
            stages[f"en-{lang}"][split] = part.num_rows
        rows = np.random.default_rng(options.seed).permutation(table.num_rows)[:5]
        samples[lang] = table.take(pa.array(np.sort(rows))).to_pylist()
        for name, held in held_tables[lang].items():
            if name not in published:
                continue
            path = folder / "held_out" / name / f"en-{lang}.parquet"
            write_table(held, path)
            outputs.append(path)
    clean_outputs(folder, outputs)
    clean_work(options, "parallel", shards)
    clean_work(options, "held-out", held_shards)
    stages["held_out"] = {report.name: report.counts for report in held_reports}
    texts = card_texts(stages, samples, has_held_out=any("held_out" in str(p) for p in outputs))
    manifest = finish(
        "parallel", options, reports, missing, outputs, stages,
        card(texts, reports, missing), notice(texts.title, [*reports, *held_reports]),
    )  # fmt: skip
    return manifest, missing


def gather_held_out(
    store: PackageStore, options: BuildOptions, extra_of: Callable[[Source], Any]
) -> tuple[dict[str, Path], list[SourceReport], list[Missing]]:
    """Reads the held-out sets; where one is not read, its hashes still keep it out.

    They are read whatever the licences asked for, since they only take away; and not at all for
    a build from chosen sources, which shall not download what it was not asked for.
    """
    if options.only:
        return {}, [], []
    try:
        return gather("held-out", HELD_OUT, extract, store, options, extra_of)
    except PackageError as error:
        return {}, [], [
            Missing(name=source.name, reason=str(error), expected=source.expected)
            for source in HELD_OUT
        ]  # fmt: skip


def save_descriptions(store: PackageStore, options: BuildOptions) -> tuple[dict[str, Path], str]:
    """Debian's descriptions as files for the workers, and their common hash."""
    folder = options.out / ".work" / "descriptions"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    paths = {}
    for lang in ("en", *LANGUAGES):
        path = folder / f"{lang}.txt"
        text = store.apt.descriptions(lang)
        path.write_text(text, "utf-8")
        digest.update(text.encode())
        paths[lang] = path
    return paths, digest.hexdigest()


def held_out_tables(shards: dict[str, Path]) -> dict[str, dict[str, pa.Table]]:
    """Held-out pairs by language and set, in the order of the sets, without repeats."""
    tables: dict[str, dict[str, pa.Table]] = {lang: {} for lang in LANGUAGES}
    sources = {source.name: source for source in HELD_OUT}
    for name, shard in shards.items():
        table = pq.read_table(shard)
        for lang in LANGUAGES:
            part = table.filter(pc.field("lang") == lang)
            tables[lang][name] = finished(part, sources[name])
    return tables


def held_out_hashes(tables: dict[str, dict[str, pa.Table]]) -> set[bytes]:
    """What may not be trained on in any language: the frozen hashes, and the sets as read."""
    hashes = read_hashes()
    for by_name in tables.values():
        for held in by_name.values():
            for column in ("en", "translation"):
                for value in held[column].to_pylist():
                    hashes |= held_out_units(value)
    return hashes


def finished(shard: pa.Table, source: Source) -> pa.Table:
    """A shard's rows in the published schema."""
    count = shard.num_rows
    return pa.Table.from_arrays(
        [
            pa.repeat("en", count), shard["lang"], shard["en"], shard["text"],
            pa.repeat(source.name, count), pa.repeat(source.licence, count),
            pa.repeat(source.family, count),
            pa.repeat(pa.scalar(source.weight, pa.float32()), count),
            shard["gender"].is_valid(), shard["gender"],
        ],
        schema=SCHEMA,
    )  # fmt: skip


def merge(
    lang: str,
    shards: dict[str, Path],
    sources: dict[str, Source],
    held_out: dict[str, dict[str, pa.Table]],
    hashes: set[bytes],
) -> tuple[pa.Table, dict[str, Any]]:
    """Training pairs of one language: unique, and apart from everything held out.

    Returns:
        The table, and how many rows each step dropped, by source where it matters.
    """
    parts = []
    for name, shard in shards.items():
        table = pq.read_table(shard)
        parts.append(finished(table.filter(pc.field("lang") == lang), sources[name]))
    table = pa.concat_tables(parts).combine_chunks()
    stages: dict[str, Any] = {"from_sources": table.num_rows}
    en = [normalise(text) for text in table["en"].to_pylist()]
    text = [normalise(text) for text in table["translation"].to_pylist()]
    counterfactual = table["counterfactual"].to_numpy(zero_copy_only=False)

    keep = np.zeros(len(en), bool)
    seen: set[tuple[str, str]] = set()
    for row, pair in enumerate(zip(en, text, strict=True)):
        if pair not in seen:
            seen.add(pair)
            keep[row] = True
    stages["repeated"] = int((~keep).sum())

    equal = np.array(
        [sentence_hash(a, ready=True) in hashes or sentence_hash(b, ready=True) in hashes
         for a, b in zip(en, text, strict=True)], bool,
    )  # fmt: skip
    stages["equal_to_held_out"] = int((keep & equal).sum())
    keep &= ~equal

    rows = np.flatnonzero(keep)
    closeness = np.zeros(len(rows), bool)
    everything = [table for tables in held_out.values() for table in tables.values()]
    sides = ((en, "en", everything), (text, "translation", list(held_out[lang].values())))
    for side, column, tables in sides:
        held_texts = sorted({normalise(v) for held in tables for v in held[column].to_pylist()})
        ours = near.signatures([side[row] for row in rows])
        closeness |= near.near_any(ours, near.signatures(held_texts), NEAR_HELD_OUT)
    stages["near_held_out"] = int(closeness.sum()) if everything else None
    rows = rows[~closeness]

    both = near.signatures([f"{en[row]} | {text[row]}" for row in rows])
    repeated = near.repeats(both, NEAR_TRAIN) & ~counterfactual[rows]
    stages["near_repeats"] = int(repeated.sum())
    rows = rows[~repeated]
    result = table.take(pa.array(rows))
    stages["kept"] = result.num_rows
    stages["kept_by_source"] = dict(
        sorted(Counter(result["source"].to_pylist()).items(), key=lambda item: -item[1])
    )
    return result, stages


def split_rows(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, bool `N` each: by hash of the English side.

    They are the same in every build. A sentence, on either side, is in one split only: what shares
    one with a validation row goes along. Counterfactual pairs all stay in training, where they are
    balanced. A dictionary's words hang together so closely that most would go along: they stay
    in training too, but for the few that stand in a validation row, which are in neither.
    """
    limit = int(VALIDATION_SHARE * 2**32)
    english = [normalise(text) for text in table["en"].to_pylist()]
    others = [normalise(text) for text in table["translation"].to_pylist()]
    chosen = np.array(
        [
            int.from_bytes(hashlib.blake2b(b"split" + text.encode(), digest_size=4).digest())
            < limit
            for text in english
        ],
        bool,
    )
    words = np.isin(table["source"].to_pylist(), DICTIONARIES)
    staying = np.array(table["counterfactual"].to_pylist(), bool) | words
    chosen &= ~staying
    while True:
        taken_en = {english[row] for row in np.flatnonzero(chosen)}
        taken_others = {others[row] for row in np.flatnonzero(chosen)}
        grown = np.array(
            [a in taken_en or b in taken_others for a, b in zip(english, others, strict=True)], bool
        )
        shared, grown = grown, (grown | chosen) & ~staying
        if (grown == chosen).all():
            return ~chosen & ~(words & shared), chosen
        chosen = grown


def card_texts(
    stages: dict[str, Any], samples: dict[str, list[dict[str, str]]], *, has_held_out: bool
) -> CardTexts:
    """What the data card says of this set."""
    steps = ["from_sources", "repeated", "equal_to_held_out", "near_held_out", "near_repeats",
             "kept", "train", "validation"]  # fmt: skip
    lines = ["| step | " + " | ".join(f"en-{lang}" for lang in LANGUAGES) + " |"]
    lines.append("| --- |" + " ---: |" * len(LANGUAGES))
    for step in steps:
        counts = [stages[f"en-{lang}"][step] for lang in LANGUAGES]
        cells = " | ".join("not looked for" if n is None else f"{n:,}" for n in counts)
        lines.append(f"| {step.replace('_', ' ')} | {cells} |")
    shown = []
    for lang in LANGUAGES:
        for row in samples[lang]:
            shown.append(f"- {row['en']} → ({lang}) {row['translation']} [{row['source']}]")
    return CardTexts(
        title="mtgen parallel text: English with French, German and Spanish",
        configs={
            f"en-{lang}": {
                "train": f"en-{lang}/train.parquet", "validation": f"en-{lang}/validation.parquet",
            } | ({"held_out": f"held_out/*/en-{lang}.parquet"} if has_held_out else {})
            for lang in LANGUAGES
        },
        languages=["en", *LANGUAGES],
        task="translation",
        steps="\n".join(lines),
        filters="\n".join(f"- {name}: {meaning}" for name, meaning in REASONS.items()),
        schema=SCHEMA,
        samples="\n".join(shown),
        held_out="Sets of the split `held_out` are never trained on. A training pair that equals "
        "one of their sentences on either side, after case, punctuation and spaces are "
        f"evened out, is dropped; so is one whose side is near one (MinHash similarity from "
        f"{NEAR_HELD_OUT} up).",
    )  # fmt: skip
