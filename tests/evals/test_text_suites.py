"""The text suites: checks and their golden cases, data, ideal answers, runs of a tiny model."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from dataclasses import asdict

import pytest

import mtgen
from evals.metrics import load_metric
from evals.metrics.checks import CHECKS, GROUPS, loose_readings, passes, passes_loosely
from evals.metrics.translation import is_said
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import SUITES, find_suites
from evals.suites.base import LikelihoodSample, TextSample, file_sha256
from evals.suites.text import PROSE, TWO, VARIANTS, bare_lower
from mtgen.model.language import detect_language
from mtgen.requests import LANGUAGES, TextRequest
from tests.conftest import save_tiny
from tests.evals.test_metrics import golden

INSTRUCTIONS = SUITES["text-instructions"].samples()

IDEAL = {
    "words-opposite-of-early": "Late.",
    "sentences-beach-two": "We swam all morning. In the afternoon it rained!",
    "paragraphs-river-two": "Rivers carry water to the sea.\n\nThey also carry boats.",
    "lines-poem-cat-two": "The cat lies on the sunny wall\nand does not care for us at all.",
    "list-items-four-birds": "- robin\n- crow\n- owl\n- swan",
    "characters-button-12": "Send",
    "contains-by-the-way": "The tap drips. By the way, the rent is paid.",
    "excludes-car-no-road": "A machine with an engine that takes people from town to town.",
    "times-little-by-little": "You learn a few words a day, and little by little you understand.",
    "one-of-letter-abc": "A",
    "number-six-times-three": "18",
    "exactly-email": "garden@example.org",
    "repeats-be-patient-three": "I will be patient.\nI will be patient.\nI will be patient.",
    "ordered-numbers-down": "80, 61, 33, 15",
    "starts-with-yes-captain": "Yes, captain, I can see its light.",
    "ends-with-any-questions": "Boil it for eight minutes. Any questions?",
    "json-person": '{"name": "Anna Berg", "age": 34, "city": "Oslo"}',
    "table-planet": "| planet | colour | moons |\n|---|---|---|\n| Mars | red | 2 |",
    "code-block-sql-select": "```sql\nSELECT * FROM books;\n```",
    "title-recipe-heading": "# Pancakes\n\nMix flour, milk and eggs. Fry both sides.",
    "hashtags-hashtags-only": "#lake #mountains #calm #blue",
    "quoted-motto": '"Ask first, then look."',
    "postscript-nb": "Turn left at the mill and knock.\n\nN.B. The bell is broken.",
    "placeholders-reminder-two": "Please come on [day] at [time].",
    "upper-case-capital-spain": "MADRID",
    "lower-case-days": "saturday and sunday",
    "without-letter-e": "A small dog runs fast.",
    "letter-count-k-exact-two": "A duck looks at us.",
    "acrostic-bread": "Butter is cold\nRye is dark\nEggs are beaten\nAll is mixed\nDough will rise",
    "language-fr-story": "Un petit chat s'est perdu dans la rue. Une dame l'a ramené chez lui.",
    "language-de-own": "Am Wochenende gehe ich mit meinem Hund spazieren.",
    "language-en-from-es": "A watch tells people what time it is.",
    "two-french-one-sentence": "Le pain est encore chaud ce matin.",
    "two-spanish-list-three": "- el perro\n- el caballo\n- la gallina",
    "two-dear-ps": "Dear Emil\n\nThe boat is sold.\n\nP.S. I kept the oars.",
    "two-title-two-paragraphs": "[[The Forest]]\nTrees stand close.\n\nAt night owls call.",
    "two-json-lower": '{"colour": "green", "size": "small"}',
    "two-table-no-digits": "| tool | use |\n|---|---|\n| saw | cutting |\n| pen | writing |",
    "two-code-contains": '```python\nprint("banana")\n```',
    "two-numbers-sorted-lines": "2\n5\n9",
    "two-repeat-upper": "STOP, STOP, STOP",
    "two-copy-upper": "DINNER IS READY",
    "two-one-of-german": "sauer",
    "two-number-no-words": "4",
    "two-number-json": '{"result": 16}',
    "two-rain-twice-two": "The rain began at noon. By night the rain had gone.",
    "two-characters-hashtag": "The sky is on fire. #sunset",
    "two-paragraphs-ps": "Be kind to your knees.\n\nP.S. Do you still paint?",
    "two-z-short": "The lazy bee makes a buzz.",
    "two-letters-b": "A big brown bear begs for berries.",
    "two-french-title": "<<Le chat>>\nLe chat dort sur le lit. Il rêve de souris.",
    "two-spanish-end": "Querida Elena: Llegamos bien y hace mucho sol. Un abrazo",
    "two-quoted-question": '"Are we there yet?"',
    "two-sorted-upper": "EGG, NUT, PEA",
    "two-code-placeholder": '```html\n<a href="[address]">Home</a>\n```',
}
"""Answers by hand, at least one to a prompt of every type, and to pairs that may seem at odds."""


def test_every_type_of_check_has_an_answer_that_passes_and_one_that_fails():
    seen = {(case["check"]["type"], case["passes"]) for case in golden("instruction_following")}
    assert seen == {(name, verdict) for name in CHECKS for verdict in (True, False)}
    assert len(CHECKS) == 30


def test_no_check_is_passed_by_silence():
    for sample in INSTRUCTIONS:
        assert not any(passes(" \n", check) for check in sample.checks)


def test_the_loose_reading_drops_stars_and_the_first_or_last_line():
    assert loose_readings("a\n*b*\nc") == [
        "a\n*b*\nc", "a\nb\nc", "*b*\nc", "b\nc", "a\n*b*", "a\nb", "*b*", "b",
    ]  # fmt: skip
    check = {"type": "one_of", "options": ["yes", "no"]}
    for text in ("**Yes**", "Sure!\nyes", "yes\n\nAnything else?", "Sure!\n*yes*\nBye"):
        assert not passes(text, check)
        assert passes_loosely(text, check)
    assert not passes_loosely("Sure, yes", check)
    assert not passes_loosely("", check)


def test_the_loose_reading_never_fails_what_the_strict_one_passes():
    for case in golden("instruction_following"):
        assert passes_loosely(case["text"], case["check"]) >= case["passes"]


def test_a_loose_prompt_passes_where_a_strict_one_does_not():
    checks = json.dumps([{"type": "words", "min": 1, "max": 1}])
    for reading, value in (("strict", 0.0), ("loose", 1.0)):
        result = load_metric("instruction_following").compute(
            predictions=["Of course!\nGreen"], references=[checks], reading=reading
        )
        assert result["value"] == value


@pytest.mark.parametrize("name", ["constraints_met", "answer_accuracy", "answer_accuracy_loss"])
def test_scores_are_those_of_the_golden_cases(name):
    def as_input(given):
        return given if isinstance(given, str) else json.dumps(given)

    for case in golden(name):
        result = load_metric(name).compute(
            predictions=[as_input(given) for given in case["predictions"]],
            references=[as_input(given) for given in case["references"]],
            **case.get("options", {}),
        )
        assert result["per_sample"] == case["per_sample"]
        if "value" in case:
            assert result["value"] == pytest.approx(case["value"])


# --- data ----------------------------------------------------------------------------------------


def test_instructions_are_300_different_prompts():
    assert len(INSTRUCTIONS) == 300
    assert len({sample.id for sample in INSTRUCTIONS}) == 300
    assert len({" ".join(sample.prompt.casefold().split()) for sample in INSTRUCTIONS}) == 300


def test_each_type_of_check_is_used_by_eight_prompts_or_more():
    uses = Counter(check["type"] for sample in INSTRUCTIONS for check in sample.checks)
    assert set(uses) == set(CHECKS)
    assert min(uses.values()) >= 8


def test_the_options_of_every_check_are_those_of_its_function():
    for sample in INSTRUCTIONS:
        for check in sample.checks:
            options = {name: value for name, value in check.items() if name != "type"}
            inspect.signature(CHECKS[check["type"]]).bind("an answer", **options)
            assert 0 <= options.get("min", 0) <= options.get("max", options.get("min", 0))
            assert options.get("code", "en") in LANGUAGES
            for name, value in options.items():
                assert value or value == 0 or name == "closing"
                assert not isinstance(value, list) or all(isinstance(v, str) and v for v in value)


def test_what_must_be_written_is_said_in_the_prompt():
    """A word that the prompt does not name could be met by luck only."""
    for sample in INSTRUCTIONS:
        for check in sample.checks:
            words = [check[name] for name in ("phrase", "word", "marker") if name in check]
            words += check.get("items", []) + check.get("keys", []) + check.get("options", [])
            if check["type"] in ("contains", "excludes"):
                words += check["any"]
            if check["type"] in ("starts_with", "ends_with", "exactly"):
                words.append(check["text"])
            for word in words:
                known = word.casefold() in sample.prompt.casefold() or not word[0].isalnum()
                is_sum = sample.id == "two-number-json"
                assert known or is_sum or sample.id == "acrostic-abc", (sample.id, word)


def test_prompts_are_in_the_category_of_their_check():
    for sample in INSTRUCTIONS:
        assert sample.category == TWO or sample.checks[0]["type"] in GROUPS[sample.category]
        assert len(sample.checks) == (2 if sample.category == TWO else 1)


def test_ideal_answers_pass_and_are_of_every_type():
    asked = {sample.id: sample for sample in INSTRUCTIONS}
    shown = set()
    for name, answer in IDEAL.items():
        for check in asked[name].checks:
            assert passes(answer, check), (name, check)
            shown.add(check["type"])
    assert shown == set(CHECKS)


def test_an_ideal_answer_to_one_prompt_seldom_passes_for_another():
    asked = {sample.id: sample for sample in INSTRUCTIONS}
    answers = list(IDEAL.items())
    shifted = zip(answers, answers[1:] + answers[:1], strict=True)
    hits = sum(
        all(passes(answer, check) for check in asked[name].checks)
        for (name, _), (_, answer) in shifted
    )
    assert hits < len(answers) / 4


def test_prose_is_ten_passages_in_each_language():
    samples = PROSE.samples()
    assert len({sample.text for sample in samples}) == len({s.id for s in samples}) == 40
    assert Counter(sample.category for sample in samples) == dict.fromkeys(LANGUAGES, 10)
    for sample in samples:
        assert isinstance(sample, LikelihoodSample)
        assert 60 <= len(sample.text.split()) <= 120
        assert detect_language(sample.text).language == sample.category


@pytest.mark.parametrize("name", ["text-robust", "text-languages"])
def test_questions_are_different_and_do_not_hold_their_answers(name):
    samples = SUITES[name].samples()
    assert len({s.prompt for s in samples}) == len({s.id for s in samples}) == len(samples) == 160
    ids = {sample.id for sample in samples}
    for sample in samples:
        assert isinstance(sample, TextSample)
        TextRequest(prompt=sample.prompt, max_new_tokens=sample.max_new_tokens)
        assert sample.answers
        assert sample.of in ids
        assert all(answer and not is_said(answer, sample.prompt) for answer in sample.answers)


def test_a_question_has_each_form_once():
    samples = SUITES["text-robust"].samples()
    assert Counter(s.variant for s in samples) == dict.fromkeys(VARIANTS, 40)
    assert bare_lower("What is 2 plus 2? Tell me, please.") == "what is 2 plus 2 tell me please"
    assert Counter(s.category for s in SUITES["text-languages"].samples()) == dict.fromkeys(
        LANGUAGES, 40
    )


def test_data_of_the_smoke_suite_is_what_it_was():
    assert file_sha256("smoke.jsonl").startswith("f74b76fe7030")


# --- runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A tiny model of more positions, as a letter is about a token to it."""
    folder = tmp_path_factory.mktemp("reading-trunk")
    save_tiny(folder, max_position_embeddings=2048)
    return mtgen.load(folder, progress=False)


@pytest.mark.parametrize("suite", find_suites("text"), ids=lambda suite: suite.name)
def test_a_run_is_scored(suite, reader, tmp_path):
    run_suite(suite, reader, tmp_path, limit=1)
    result = read_run(tmp_path)
    assert result.is_complete
    assert not any(record["error"] for record in result.records)
    names = [score.name for score in result.scores]
    assert names == [use.name for use in suite.metrics]
    assert len(set(names)) == len(names)
    assert result.scores[0].n_scored == 1


def test_ideal_answers_have_full_marks_in_every_category():
    records = [
        {"id": s.id, "kind": "text", "output": IDEAL[s.id], "nll": None, "sample": asdict(s)}
        for s in INSTRUCTIONS
        if s.id in IDEAL
    ]
    scores = {use.name: use.score(records) for use in SUITES["text-instructions"].metrics}
    for name, score in scores.items():
        if name.startswith(("instruction_following", "constraints_met")):
            assert score.value == 1
            assert score.ci95
            assert score.n_unscored == 0
    assert scores["instruction_following"].n_scored == len(IDEAL)
    assert scores["instruction_following_form"].n_scored == 10
    assert scores["empty"].value == 0


def answered(variant: str, output: str | None, number: int = 0) -> dict:
    return {
        "id": f"q{number}-{variant}", "kind": "text", "output": output, "nll": None,
        "sample": {"variant": variant, "of": f"q{number}-plain", "answers": ["Paris"]},
    }  # fmt: skip


def test_a_loss_is_paired_and_a_question_without_both_answers_is_unscored():
    use = next(u for u in SUITES["text-robust"].metrics if u.name == "answer_accuracy_loss_typos")
    records = [
        answered("plain", "Paris"), answered("typos", "Lyon"), answered("lower", "Paris"),
        answered("plain", "Paris", 1), answered("typos", "It is Paris.", 1),
        answered("plain", "Paris", 2), answered("typos", None, 2), answered("plain", "Paris", 3),
    ]  # fmt: skip
    score = use.score(records)
    assert (score.value, score.n_scored, score.n_unscored) == (0.5, 2, 1)
    assert score.ci95 == (0.0, 1.0)
    assert "plain" not in score.signature
