"""Which of some texts does the model find likeliest? Knowledge, grammar, stereotypes.

`python -m evals run --suite choice` runs those that are shipped. The others read public benchmarks
in their published formats from a folder (`--data`, or MTGEN_BENCH). Prompts are worded as
lm-evaluation-harness words them, so that figures can be compared.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from evals.metrics import MetricUse
from evals.suites.base import ChoiceSample, MadeSuite, OutsideSuite, read_table

LICENCE = "Apache-2.0, written for this project"
CATEGORIES = ("common sense", "science", "language")
ENV = "MTGEN_BENCH"
DEFAULT = Path("build/bench")
PRONOUNS = {"she": ("she", "her", "her"), "he": ("he", "him", "his")}


def options_of(context: str, continuations: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Continuations of one context."""
    return tuple((context, text) for text in continuations)


def own_choices(filename: str) -> list[ChoiceSample]:
    """Items of ours: context, right continuation, others."""
    samples = []
    for number, row in enumerate(read_table(filename)):
        context = row["context"].replace("\\n", "\n")
        texts = [text.strip() for text in (row["answer"], *row["others"].split("|"))]
        samples.append(
            ChoiceSample(
                id=f"{row['category'].replace(' ', '-')}-{number}", category=row["category"],
                options=options_of(context, [f" {t}" if context else t for t in texts]), answer=0,
            )
        )  # fmt: skip
    return samples


def own_pairs(filename: str) -> list[ChoiceSample]:
    """Pairs of ours about groups of people; the same words follow two groups, each in turn.

    A row has a sentence of what is said of groups, the group that it is a cliché of, another one,
    and the words that follow. So both options have the same continuation, and how common the names
    of the groups are does not matter.
    """
    return [
        ChoiceSample(
            id=f"{row['category']}-{number}", category=row["category"],
            options=tuple(
                (row["frame"].format(row[group]), f" {row['said']}") for group in ("group", "other")
            ),
        )
        for number, row in enumerate(read_table(filename))
    ]  # fmt: skip


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a JSONL file."""
    for line in path.read_text("utf-8").splitlines():
        if line.strip():
            yield json.loads(line)


def hellaswag(folder: Path) -> list[ChoiceSample]:
    """HellaSwag (arXiv:1905.07830): `hellaswag_val.jsonl`."""

    def clean(text: str) -> str:
        text = text.strip().replace(" [title]", ". ")
        while "[" in text and "]" in text[text.index("[") :]:
            text = text[: text.index("[")] + text[text.index("]", text.index("[")) + 1 :]
        return text.replace("  ", " ")

    return [
        ChoiceSample(
            id=f"hellaswag-{row.get('ind', number)}", answer=int(row["label"]),
            options=options_of(
                clean(
                    f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
                ),
                [f" {clean(ending)}" for ending in row["endings"]],
            ),
        )
        for number, row in enumerate(json_lines(folder / "hellaswag_val.jsonl"))
    ]  # fmt: skip


def arc(folder: Path, level: str) -> list[ChoiceSample]:
    """ARC (arXiv:1803.05457): `ARC-Easy-Test.jsonl` or `ARC-Challenge-Test.jsonl`."""
    samples = []
    for row in json_lines(folder / f"ARC-{level}-Test.jsonl"):
        choices = row["question"]["choices"]
        labels = [choice["label"] for choice in choices]
        samples.append(
            ChoiceSample(
                id=row["id"], answer=labels.index(row["answerKey"]),
                options=options_of(
                    f"Question: {row['question']['stem']}\nAnswer:",
                    [f" {choice['text']}" for choice in choices],
                ),
            )
        )  # fmt: skip
    return samples


def arc_easy(folder: Path) -> list[ChoiceSample]:
    """The easy questions."""
    return arc(folder, "Easy")


def arc_challenge(folder: Path) -> list[ChoiceSample]:
    """The hard questions."""
    return arc(folder, "Challenge")


def piqa(folder: Path) -> list[ChoiceSample]:
    """PIQA (arXiv:1911.11641): `valid.jsonl` and `valid-labels.lst`."""
    labels = (folder / "valid-labels.lst").read_text("utf-8").split()
    return [
        ChoiceSample(
            id=f"piqa-{number}", answer=int(label),
            options=options_of(
                f"Question: {row['goal']}\nAnswer:", [f" {row['sol1']}", f" {row['sol2']}"]
            ),
        )
        for number, (row, label) in enumerate(
            zip(json_lines(folder / "valid.jsonl"), labels, strict=True)
        )
    ]  # fmt: skip


def blimp(folder: Path) -> list[ChoiceSample]:
    """BLiMP (arXiv:1912.00582): its files of 1,000 pairs, as many as are there."""
    return [
        ChoiceSample(
            id=f"{row['UID']}-{row['pairID']}", category=row["field"], answer=0,
            options=options_of("", [row["sentence_good"], row["sentence_bad"]]),
        )
        for path in sorted(folder.glob("*.jsonl"))
        for row in json_lines(path)
    ]  # fmt: skip


def crows_pairs(folder: Path) -> list[ChoiceSample]:
    """CrowS-Pairs (arXiv:2010.00133): `crows_pairs_anonymized.csv`.

    `sent_more` is the more stereotypical sentence whatever `stereo_antistereo` says, which tells
    the two kinds of pairs apart.
    """
    path = folder / "crows_pairs_anonymized.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        ChoiceSample(
            id=f"crows-{number}", category=row["bias_type"],
            options=options_of("", [row["sent_more"], row["sent_less"]]),
        )
        for number, row in enumerate(rows)
    ]  # fmt: skip


def stereoset(folder: Path) -> list[ChoiceSample]:
    """StereoSet's sentences with a gap (arXiv:2004.09456): `dev.json`; unrelated ones come last."""
    held = json.loads((folder / "dev.json").read_text("utf-8"))
    samples = []
    for row in held["data"]["intrasentence"]:
        said = {sentence["gold_label"]: sentence["sentence"] for sentence in row["sentences"]}
        texts = [said[label] for label in ("stereotype", "anti-stereotype", "unrelated")]
        samples.append(
            ChoiceSample(id=row["id"], category=row["bias_type"], options=options_of("", texts))
        )
    return samples


def winogender(folder: Path) -> list[ChoiceSample]:
    """Winogender (arXiv:1804.09301): `all_sentences.tsv` and `occupations-stats.tsv`.

    Each sentence with "she", then with "he"; those whose pronoun is the occupation's.
    """
    with (folder / "occupations-stats.tsv").open(encoding="utf-8", newline="") as file:
        shares = {
            row["occupation"]: float(row["bls_pct_female"]) / 100
            for row in csv.DictReader(file, delimiter="\t")
        }
    with (folder / "all_sentences.tsv").open(encoding="utf-8", newline="") as file:
        said = {row["sentid"]: row["sentence"] for row in csv.DictReader(file, delimiter="\t")}
    samples = []
    for name, sentence in said.items():
        occupation, other, whose, gender, _ = name.split(".")
        if gender != "female" or whose != "0":
            continue
        male = said[f"{occupation}.{other}.{whose}.male.txt"]
        samples.append(
            ChoiceSample(
                id=name.removesuffix(".female.txt"), options=options_of("", [sentence, male]),
                share=shares[occupation], category="occupation",
            )
        )  # fmt: skip
    return samples


def _accuracy(*categories: str) -> tuple[MetricUse, ...]:
    """By likelihood as it is, and by character; then of each category."""
    return tuple(
        MetricUse(
            metric="accuracy", unit="share of questions", higher_is_better=True,
            options={"per": per} | ({"category": category} if category else {}),
        )
        for category in ("", *categories)
        for per in (("option", "character") if not category else ("option",))
    )  # fmt: skip


def _stereotypes(*categories: str) -> tuple[MetricUse, ...]:
    return tuple(
        MetricUse(
            metric="stereotype_share", unit="share of pairs, 0.5 is ideal", higher_is_better=False,
            options={"category": category} if category else {},
        )
        for category in ("", *categories)
    )  # fmt: skip


OWN = MadeSuite(
    name="text-choice",
    aspect="knowledge and grammar",
    task="text",
    description="common sense, science, grammar: 40 questions each by likelihood",
    filename="choice.tsv",
    read=own_choices,
    licence=LICENCE,
    minutes=1,
    metrics=_accuracy(*CATEGORIES),
)
GROUPS_OF_PEOPLE = ("gender", "age", "nationality", "religion", "class", "looks")
PAIRS = MadeSuite(
    name="bias-pairs",
    aspect="bias",
    task="text",
    description="clichés of groups of people, against the same words about another group",
    filename="bias-pairs.tsv",
    read=own_pairs,
    licence=LICENCE,
    minutes=1,
    metrics=_stereotypes(*GROUPS_OF_PEOPLE),
)
SHIPPED = (OWN, PAIRS)


def _public(
    name: str, folder: str, files: Sequence[str], origin: str, licence: str, minutes: float,
    **what: Any,
) -> OutsideSuite:  # fmt: skip
    return OutsideSuite(
        name=name, task="text", filename=folder, files=tuple(files), origin=origin,
        env=ENV, default=DEFAULT, licence=f"{licence}, not shipped", minutes=minutes, **what,
    )  # fmt: skip


PUBLIC = (
    _public(
        "hellaswag", "hellaswag", ["hellaswag_val.jsonl"], "github.com/rowanz/hellaswag", "MIT", 60,
        aspect="common sense", description="how a scene goes on, four endings", read=hellaswag,
        metrics=_accuracy(),
    ),
    _public(
        "arc-easy", "arc", ["ARC-Easy-Test.jsonl"], "allenai.org/data/arc", "CC-BY-SA-4.0", 10,
        aspect="science", description="questions of school exams, the easy ones", read=arc_easy,
        metrics=_accuracy(),
    ),
    _public(
        "arc-challenge", "arc", ["ARC-Challenge-Test.jsonl"], "allenai.org/data/arc",
        "CC-BY-SA-4.0", 6, aspect="science", read=arc_challenge, metrics=_accuracy(),
        description="questions of school exams that look-up gets wrong",
    ),
    _public(
        "piqa", "piqa", ["valid.jsonl", "valid-labels.lst"], "yonatanbisk.com/piqa", "AFL-3.0", 8,
        aspect="common sense", description="how things are done, two ways", read=piqa,
        metrics=_accuracy(),
    ),
    _public(
        "blimp", "blimp", ["*.jsonl"], "github.com/alexwarstadt/blimp", "CC-BY-4.0", 90,
        aspect="grammar", description="pairs of which one sentence is wrong", read=blimp,
        metrics=_accuracy("morphology", "semantics", "syntax", "syntax_semantics"),
    ),
    _public(
        "crows-pairs", "crows_pairs", ["crows_pairs_anonymized.csv"],
        "github.com/nyu-mll/crows-pairs", "CC-BY-SA-4.0", 4, aspect="bias", read=crows_pairs,
        description="1,508 pairs of a stereotype and its opposite",
        metrics=_stereotypes(
            "race-color", "gender", "socioeconomic", "nationality", "religion", "age",
            "sexual-orientation", "physical-appearance", "disability",
        ),
    ),
    _public(
        "stereoset", "stereoset", ["dev.json"], "github.com/moinnadeem/StereoSet", "CC-BY-SA-4.0",
        8, aspect="bias", description="stereotype, opposite, and an unrelated sentence",
        read=stereoset, metrics=_stereotypes("gender", "profession", "race", "religion"),
    ),
    _public(
        "winogender", "winogender", ["all_sentences.tsv", "occupations-stats.tsv"],
        "github.com/rudinger/winogender-schemas", "MIT", 1, aspect="bias", read=winogender,
        description="P(she) of 60 occupations against the share of women in them",
        metrics=(
            MetricUse(
                metric="occupation_correlation", unit="correlation, 0 is ideal",
                higher_is_better=False,
            ),
        ),
    ),
)  # fmt: skip
CHOICE = (*SHIPPED, *PUBLIC)
