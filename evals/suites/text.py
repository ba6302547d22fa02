"""How good is the text? Instructions, prose, and questions in four forms and four languages.

`python -m evals run --suite text` runs them all. No answer is judged by a model: instructions are
such that a program can check them, and questions have answers of a word or a number.
"""

from __future__ import annotations

import re

from evals.metrics import MetricUse
from evals.metrics.checks import GROUPS
from evals.metrics.questions import AnswerLossUse
from evals.suites.base import MadeSuite, Suite, TextSample, read_table
from mtgen.requests import LANGUAGES

LICENCE = "Apache-2.0, written for this project"
TWO = "two at once"
"""Category of prompts with two constraints; others have the group of their one."""
VARIANTS = ("plain", "typos", "lower", "paraphrase")
LONGEST = 32
"""Tokens of an answer: enough for a sentence, too few to name every possible answer."""


def bare_lower(text: str) -> str:
    """A question in small letters without its punctuation."""
    return " ".join(re.sub(r"[^\w\s]", " ", text.lower()).split())


def robust_questions(filename: str) -> list[TextSample]:
    """Each question in four forms; the lower-case one is made of the plain one."""
    samples = []
    for number, row in enumerate(read_table(filename)):
        forms = row | {"lower": bare_lower(row["plain"])}
        samples += [
            TextSample(
                id=f"question-{number:02d}-{variant}", prompt=forms[variant], variant=variant,
                max_new_tokens=LONGEST, answers=tuple(row["answers"].split("|")),
                of=f"question-{number:02d}-plain",
            )
            for variant in VARIANTS
        ]  # fmt: skip
    return samples


def language_questions(filename: str) -> list[TextSample]:
    """Each question in four languages, to be answered in its own."""
    return [
        TextSample(
            id=f"question-{number:02d}-{lang}", prompt=row[lang], category=lang,
            max_new_tokens=LONGEST, answers=tuple(row[f"answers_{lang}"].split("|")),
            of=f"question-{number:02d}-en",
        )
        for number, row in enumerate(read_table(filename))
        for lang in LANGUAGES
    ]  # fmt: skip


EMPTY = MetricUse(metric="empty", unit="share of outputs", higher_is_better=False)
LOOPS = MetricUse(metric="repetition", unit="share", higher_is_better=False, options={"n": 4})


def _share(metric: str, unit: str, **options: str) -> MetricUse:
    return MetricUse(metric=metric, unit=unit, higher_is_better=True, options=options)


def _loss(plain: str, **options: str) -> AnswerLossUse:
    return AnswerLossUse(
        metric="answer_accuracy_loss", unit="difference of shares", higher_is_better=False,
        options=options, plain=plain,
    )  # fmt: skip


INSTRUCTIONS = Suite(
    name="text-instructions",
    aspect="following instructions",
    task="text",
    description="300 prompts with constraints of 30 types, checked by a program",
    filename="instructions.jsonl",
    licence=LICENCE,
    minutes=10,
    metrics=(
        _share("instruction_following", "share of prompts"),
        _share("instruction_following", "share of prompts", reading="loose"),
        _share("constraints_met", "share of constraints"),
        _share("constraints_met", "share of constraints", reading="loose"),
        *(
            _share("instruction_following", "share of prompts", category=category)
            for category in (*GROUPS, TWO)
        ),
        MetricUse(metric="distinct_n", unit="share", higher_is_better=True,
                  options={"n": 2, "category": "length"}),
        MetricUse(metric="repetition", unit="share", higher_is_better=False,
                  options={"n": 4, "category": "length"}),
        EMPTY,
    ),
)  # fmt: skip
"""Diversity is of answers about length, as other prompts ask for repetition, tables or code."""
PROSE = Suite(
    name="text-prose",
    aspect="prose",
    task="text",
    description="perplexity on 40 passages of ten kinds in four languages",
    filename="prose.jsonl",
    licence=LICENCE,
    minutes=1,
    metrics=tuple(
        MetricUse(
            metric="perplexity", unit="per token", higher_is_better=False,
            options={"category": lang} if lang else {},
        )
        for lang in ("", *LANGUAGES)
    ),
)  # fmt: skip
ROBUST = MadeSuite(
    name="text-robust",
    aspect="careless writing",
    task="text",
    description="40 questions: plain, with typos, in lower case without punctuation, paraphrased",
    filename="questions-robust.tsv",
    read=robust_questions,
    licence=LICENCE,
    minutes=3,
    metrics=(
        *(_share("answer_accuracy", "share of questions", variant=v) for v in VARIANTS),
        *(_loss("plain", variant=variant) for variant in VARIANTS[1:]),
        LOOPS,
        EMPTY,
    ),
)
LANGUAGE_QUESTIONS = MadeSuite(
    name="text-languages",
    aspect="languages",
    task="text",
    description="40 questions in English, French, German, Spanish, to answer in the same",
    filename="questions-languages.tsv",
    read=language_questions,
    licence=LICENCE,
    minutes=3,
    metrics=(
        *(_share("answer_accuracy", "share of questions", category=lang) for lang in LANGUAGES),
        *(_loss("en", category=lang) for lang in LANGUAGES if lang != "en"),
        LOOPS,
        EMPTY,
    ),
)
TEXT = (INSTRUCTIONS, PROSE, ROBUST, LANGUAGE_QUESTIONS)
