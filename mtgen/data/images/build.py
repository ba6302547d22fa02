"""Builds the pictures: renders each source, names and classifies, de-duplicates, splits."""

from __future__ import annotations

import hashlib
import io
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

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
from mtgen.data.images.colours import NAMED_SHARE, dominant_colour, recolours
from mtgen.data.images.held_out import HeldOut
from mtgen.data.images.lexicon import Lexicon
from mtgen.data.images.names import CLDR, EMOJI, LANGUAGES, Names
from mtgen.data.images.people import gender_of, roles, without_tone
from mtgen.data.images.render import NotAPictureError, encode, rasterise, squared
from mtgen.data.images.sources import EMOJI_SETS, SILHOUETTES, SOURCES, Art
from mtgen.data.packages import PackageStore
from mtgen.data.sources import Source, select

FILE_ROWS = 8_000
"""Pictures per Parquet file: about 50 MB."""

SELDOM = {"Flags": 0.2}
"""Weight of a whole group: there are many flags, and few people ask for one."""

SELDOM_NAMES = ("o’clock", "-thirty", "keycap", "button")
SELDOM_WEIGHT = 0.2

REASONS = {
    "unreadable": "it cannot be rendered",
    "blank": "nothing is visible",
    "mixed_tones": "several skin tones in one picture",
    "toned_hands": "a skin tone where the person is not a role: hands, gestures, families",
    "repeated_key": "the same concept came before in this source",
    "pixel_equal": "pixel for pixel the same as an earlier picture",
}

STRINGS = pa.list_(pa.string())
BY_LANGUAGE = pa.struct([(lang, STRINGS) for lang in LANGUAGES])
FIELDS = [
    ("id", pa.string()),
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("source", pa.string()),
    ("kind", pa.string()),
    ("concept", pa.string()),
    ("codepoints", pa.string()),
    ("names", BY_LANGUAGE),
    ("keywords", BY_LANGUAGE),
    ("group", pa.string()),
    ("person", pa.string()),
    ("gender", pa.string()),
    ("tone", pa.string()),
    ("colour", pa.string()),
    ("recolours", STRINGS),
    ("licence", pa.string()),
    ("licence_family", pa.string()),
    ("package", pa.string()),
    ("weight", pa.float32()),
    ("pixels_sha256", pa.string()),
    ("lookalike", pa.int64()),
]
"""kind: emoji, icon, silhouette or clip art. concept: code points without skin tone, or the name.
person: the neutral concept of a trade. colour: dominant, where a name has half of the picture;
recolours: what it can be turned into. weight: how often a trainer should draw it, relative to
others. lookalike: 64-bit difference hash, to find near copies across sources."""


def schema() -> pa.Schema:
    """Columns, with the note that makes `datasets` show `image` as a picture."""
    import json

    def feature(kind: pa.DataType) -> Any:
        if pa.types.is_list(kind):
            return {"feature": feature(kind.value_type), "_type": "List"}
        if pa.types.is_struct(kind):
            return {field.name: feature(field.type) for field in kind.fields}
        names = {"float": "float32", "double": "float64"}
        return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}

    features = {name: feature(kind) for name, kind in FIELDS}
    features["image"] = {"_type": "Image"}
    note = json.dumps({"info": {"features": features}})
    return pa.schema(FIELDS, metadata={"huggingface": note})


def draw(art: Art) -> Image.Image:
    """The picture of an art, 256 px RGBA.

    Raises:
        NotAPictureError: it cannot be rendered or decoded.
    """
    if art.is_svg:
        return rasterise(art.content.decode("utf-8", "replace"), crop=art.crop)
    try:
        with Image.open(io.BytesIO(art.content)) as picture:
            return squared(picture.convert("RGBA"), crop=art.crop)
    except OSError as error:
        raise NotAPictureError(str(error)) from None


def lookalike(picture: Image.Image) -> int:
    """Difference hash over white: near copies differ in few bits.

    Source: N. Krawetz, "Kind of Like That", 2013 (dHash).
    """
    white = Image.new("RGBA", picture.size, "white")
    small = Image.alpha_composite(white, picture).convert("L").resize((9, 8), Image.Resampling.BOX)
    values = np.asarray(small, np.int16)
    bits = (values[:, 1:] > values[:, :-1]).flatten()
    return int(np.packbits(bits).view(">i8")[0])


def extract(job: Job) -> dict[str, Any]:
    """Renders one source into its shard."""
    [source] = [item for item in SOURCES if item.name == job.source]
    names = Names.read(job.extra["names"])
    lexicon = Lexicon.read()
    counts: Counter[str] = Counter()
    columns: dict[str, list] = defaultdict(list)
    is_emoji = source.name in EMOJI_SETS
    kind = "emoji" if is_emoji else "icon"
    if source.name in SILHOUETTES:
        kind = "silhouette"
    elif source.name == "openclipart":
        kind = "clip art"
    seen: set[str] = set()
    package = job.extra["package"]
    for art in source.read(job.files, names):  # type: ignore[call-arg]
        counts["read"] += 1
        concept, tone = without_tone(art.codepoints) if art.codepoints else (art.name, None)
        if tone == "mixed":
            counts["mixed_tones"] += 1
            continue
        if tone and concept not in roles():
            counts["toned_hands"] += 1
            continue
        key = art.codepoints or art.key
        if key in seen:
            counts["repeated_key"] += 1
            continue
        try:
            picture = draw(art)
            webp = encode(picture)
        except NotAPictureError as error:
            counts["blank" if "visible" in str(error) else "unreadable"] += 1
            continue
        seen.add(key)
        counts["kept"] += 1
        code = concept if art.codepoints else names.find(art.name)
        words = names.words(code, lexicon) if code else {lang: [] for lang in LANGUAGES}
        if art.name and not words["en"]:
            words["en"] = [art.name]
        elif not art.codepoints and code:
            concept = code
        rgba = np.asarray(picture)
        colour, share = None, 0.0
        paints: tuple[str, ...] = ()
        if is_emoji and code and code in lexicon:
            colour, share = dominant_colour(rgba)
            paints = recolours(rgba)
        role = roles().get(concept)
        keywords = {lang: names.keywords[lang].get(code or "", []) for lang in LANGUAGES}
        row = {
            "id": f"{source.name}/{art.key}",
            "image": {"bytes": webp, "path": None},
            "source": source.name,
            "kind": kind,
            "concept": concept,
            "codepoints": art.codepoints,
            "names": words,
            "keywords": keywords,
            "group": names.groups.get(concept if art.codepoints else code or ""),
            "person": role.concept if role else None,
            "gender": gender_of(concept),
            "tone": tone,
            "colour": colour if share >= NAMED_SHARE else None,
            "recolours": list(paints),
            "licence": source.licence,
            "licence_family": source.family,
            "package": package,
            "weight": source.weight * rarity(names, concept),
            "pixels_sha256": hashlib.sha256(rgba.tobytes()).hexdigest(),
            "lookalike": lookalike(picture),
        }
        for name, value in row.items():
            columns[name].append(value)
    arrays = [pa.array(columns[name], kind) for name, kind in FIELDS]
    write_table(pa.Table.from_arrays(arrays, schema=schema()), job.shard, row_group=500)
    return dict(counts)


def rarity(names: Names, concept: str) -> float:
    """Factor for what is plentiful but seldom wanted: flags, clocks, keycaps."""
    name = names.names["en"].get(concept, "")
    if any(part in name for part in SELDOM_NAMES):
        return SELDOM_WEIGHT
    return SELDOM.get(names.groups.get(concept, ""), 1.0)


def build(options: BuildOptions, store: PackageStore) -> tuple[dict[str, Any], list[Missing]]:
    """Builds `OUT/images`.

    Returns:
        The manifest, and the sources that are missing.

    Raises:
        PackageError: not even one source can be had, or the names cannot.
    """
    chosen = select(SOURCES, only=options.only, licences=options.licenses)
    needed = (*CLDR, EMOJI)
    names = fetch_needed(store, needed, options, "the names of the pictures")
    stamp = [store.used[spec].sha256 for spec in needed]

    def extra_of(source: Source) -> Any:
        used = [store.used.get(spec) for spec in source.packages]
        package = ", ".join(f"{pin.name} {pin.version}" for pin in used if pin)
        return {"names": names, "package": package, "stamp": stamp}

    shards, reports, missing = gather("images", chosen, extract, store, options, extra_of)
    table, held_out, stages = merge(shards, HeldOut.read())
    folder = options.out / "images"
    outputs: list[Path] = []
    stages["held_out"] = int(held_out.sum())
    stages["near_held_out"] = near_held_out(table, held_out)
    train = table.filter(pa.array(~held_out))
    num_files = max(1, -(-train.num_rows // FILE_ROWS))
    for number in range(num_files):
        path = folder / f"train-{number:05}-of-{num_files:05}.parquet"
        part = train.slice(number * FILE_ROWS, FILE_ROWS)
        write_table(part, path, row_group=500)
        outputs.append(path)
    path = folder / "held_out.parquet"
    write_table(table.filter(pa.array(held_out)), path, row_group=500)
    outputs.append(path)
    stages["train"] = train.num_rows
    clean_outputs(folder, outputs)
    clean_work(options, "images", shards)
    texts = card_texts(stages, table, options.seed)
    credits = notice(texts.title, [*reports, *name_reports(store, needed)])
    manifest = finish(
        "images", options, reports, missing, outputs, stages, card(texts, reports, missing), credits
    )
    return manifest, missing


def name_reports(store: PackageStore, specs: tuple[str, ...]) -> list[SourceReport]:
    """What the NOTICE says of the packages that gave the names."""
    packages = [{"package": spec, "version": store.used[spec].version} for spec in specs]
    return [
        SourceReport(
            name="names and keywords", licence="Unicode-3.0 AND MIT", family="permissive",
            credit="Unicode CLDR; Mu-An Chiou: unicode-emoji-json", weight=0, packages=packages,
            counts={},
        )
    ]  # fmt: skip


def merge(
    shards: dict[str, Path], held_out: HeldOut
) -> tuple[pa.Table, np.ndarray, dict[str, Any]]:
    """All pictures, without those that are pixel for pixel another one.

    Returns:
        The table; what is held out, bool `N`; counts. Of equal pictures the held-out one stays.
    """
    table = pa.concat_tables([pq.read_table(shard) for shard in shards.values()])
    away = np.array(is_held_out(table, held_out), bool)
    digests = table["pixels_sha256"].to_pylist()
    seen: set[str] = set()
    keep = np.zeros(len(away), bool)
    for row in (*np.flatnonzero(away), *np.flatnonzero(~away)):
        keep[row] = digests[row] not in seen
        seen.add(digests[row])
    kept = table.filter(pa.array(keep))
    emoji = kept.filter(pc.field("kind") == "emoji")
    styles: dict[str, set[str]] = defaultdict(set)
    for concept, source in zip(
        emoji["concept"].to_pylist(), emoji["source"].to_pylist(), strict=True
    ):
        styles[concept].add(source)
    stages: dict[str, Any] = {
        "from_sources": table.num_rows,
        "pixel_equal": table.num_rows - kept.num_rows,
        "kept": kept.num_rows,
        "emoji_pictures": emoji.num_rows,
        "emoji_concepts": len(styles),
        "styles_per_concept": round(sum(map(len, styles.values())) / max(1, len(styles)), 2),
        "kept_by_source": dict(Counter(kept["source"].to_pylist())),
    }
    return kept, away[keep], stages


def is_held_out(table: pa.Table, held_out: HeldOut) -> list[bool]:
    """Pictures of a concept in a style that is kept for evaluation."""
    return [
        (concept, source) in held_out.styles
        for concept, source in zip(
            table["concept"].to_pylist(), table["source"].to_pylist(), strict=True
        )
    ]


def near_held_out(table: pa.Table, held_out: np.ndarray) -> int:
    """Training pictures of the same concept that look like a held-out one: up to 4 of 64 bits."""
    hashes = table["lookalike"].to_numpy().view(np.uint64)
    concepts = np.array(table["concept"].to_pylist(), dtype=object)
    count = 0
    for row in np.flatnonzero(held_out):
        same = np.flatnonzero((concepts == concepts[row]) & ~held_out)
        bits = np.bitwise_count(hashes[same] ^ hashes[row])
        count += int((bits <= 4).sum())
    return count


def card_texts(stages: dict[str, Any], table: pa.Table, seed: int) -> CardTexts:
    """What the data card says of this set."""
    steps = ["| step | pictures |", "| --- | ---: |"]
    steps += [
        f"| {name.replace('_', ' ')} | {stages[name]:,} |"
        for name in ("from_sources", "pixel_equal", "kept", "held_out", "near_held_out", "train",
                     "emoji_pictures", "emoji_concepts")
    ]  # fmt: skip
    rows = np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:15])
    shown = table.select(["id", "names"]).take(pa.array(rows)).to_pylist()
    samples = [
        f"- {row['id']}: " + "; ".join(
            f"({lang}) {row['names'][lang][0]}" for lang in LANGUAGES if row["names"][lang]
        )
        for row in shown
    ]  # fmt: skip
    return CardTexts(
        title="mtgen pictures: emoji, icons, silhouettes and clip art with names in four languages",
        configs={"default": {"train": "train-*.parquet", "held_out": "held_out.parquet"}},
        languages=LANGUAGES,
        task="text-to-image",
        steps="\n".join(steps),
        filters="\n".join(f"- {name}: {meaning}" for name, meaning in REASONS.items()),
        schema=schema(),
        samples="\n".join(samples),
        held_out="The split `held_out` holds concepts in single styles that training never shows "
        "in that style (`held_out.json` in the code lists them, and the combinations of noun, "
        "colour and count, and of noun, relation and noun, that composed scenes leave out).",
    )  # fmt: skip
