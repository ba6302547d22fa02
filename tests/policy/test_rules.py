"""The rules of use: what they catch, what they leave alone, and whose they are."""

from __future__ import annotations

import time

import pytest

from mtgen.errors import ConfigError
from mtgen.policy import DEFAULT, Policy, Rule, load_policy, plain, read_policy
from tests.conftest import ROOT

DATA = ROOT / "evals" / "suites" / "data"
HARMLESS = (DATA / "policy-harmless.txt").read_text("utf-8").splitlines()
HARMFUL = [
    line.split("\t") for line in (DATA / "policy-harmful.tsv").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Héllo, WÖRLD!", "hello world"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
        ("zero\u200bwidth and soft\u00adhyphen", "zerowidth and softhyphen"),
        ("h3ll0 w0rld$", "hello worlds"),
        ("make a b o m b now", "make abomb bomb now"),
        ("Straße", "strasse"),
        ("3rd of May, 1st prize, 5$ at 10:30!", "3rd of may 1st prize 5 at 10 30"),
        ("", ""),
    ],
)
def test_texts_are_compared_without_what_hides_words(text, seen):
    assert plain(text) == seen


def test_harmless_prompts_are_not_refused():
    policy = load_policy("")
    refused = [line for line in HARMLESS if policy.broken(line, "text")]
    assert len(HARMLESS) >= 500
    assert len(refused) <= len(HARMLESS) * 0.01, refused


def test_most_of_what_the_rules_were_not_written_with_is_caught():
    policy = load_policy("")
    lines = (DATA / "policy-harmful-unseen.tsv").read_text("utf-8").splitlines()
    caught = [
        any(policy.broken(line.split("\t")[1], task) for task in ("text", "image"))
        for line in lines
    ]
    assert sum(caught) / len(caught) >= 0.7


def test_what_the_rules_are_for_is_caught_and_named():
    policy = load_policy("")
    caught = [
        {rule.name for task in ("text", "image") if (rule := policy.broken(line, task))}
        for _, line in HARMFUL
    ]
    assert sum(map(bool, caught)) >= len(HARMFUL) * 0.95
    right = [name in names for (name, _), names in zip(HARMFUL, caught, strict=True)]
    assert sum(right) >= len(HARMFUL) * 0.95


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000, "a_ " * 66_666, "!" * 100_000 + "abcd", "a1" * 100_000, "a b " * 50_000,
     "child " * 16_000 + "and " * 13 + "sex " * 16_000, "€4@" * 60_000],
)  # fmt: skip
def test_no_text_holds_up_the_page(text):
    policy = load_policy("")
    started = time.process_time()
    policy.broken(text, "text")
    assert time.process_time() - started < 3


def test_words_inside_other_words_do_not_count():
    policy = Policy((Rule(name="r", says="no", tasks=("text",), words=("cunt", "ass")),))
    assert policy.broken("From Scunthorpe to the grass", "text") is None
    assert policy.broken("an ASS", "text") is not None
    assert policy.broken("an ass", "image") is None


def test_words_of_two_lists_count_when_they_are_near():
    rule = Rule(
        name="r", says="no", tasks=("text",), within=3,
        all_of=(("make", "build*"), ("bomb",)), exceptions=("bath bomb",), unless=("in history",),
    )  # fmt: skip
    assert rule.applies("building a bomb", "")
    assert not rule.applies("building a house which is no bomb", "")
    assert not rule.applies("make a bath bomb", "")
    assert not rule.applies("who did make a bomb in history", "")


def test_a_deployer_brings_own_rules_or_none(tmp_path, monkeypatch):
    path = tmp_path / "own.toml"
    path.write_text('[[rule]]\nname="tea"\nsays="no tea"\ntasks=["text"]\nwords=["tea"]\n')
    own = load_policy(str(path))
    assert own.broken("Tea?", "text").refusal == "refused by this page's rule 'tea': no tea"
    monkeypatch.setenv("MTGEN_POLICY", "off")
    load_policy.cache_clear()
    assert load_policy().rules == ()
    monkeypatch.delenv("MTGEN_POLICY")
    load_policy.cache_clear()
    assert load_policy() == read_policy(DEFAULT)


@pytest.mark.parametrize(
    "text",
    [
        "no toml [",
        "[[rule]]\nname='x'\nsays='y'\ntasks=['text']\n",
        "[[rule]]\nname='x'\nsays='y'\ntasks=['chess']\nwords=['z']\n",
        "[[rule]]\nname='x'\nsays='y'\ntasks=['text']\nwords=['z']\nnever=1\n",
        "rule = 3",
        "[[rule]]\nname='x'\nsays='y'\ntasks=['text']\nwords=['c4']\n",
    ],
)
def test_rules_that_cannot_be_read_are_refused_in_one_sentence(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_policy(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="holds no rules of use"):
        read_policy(tmp_path / "missing.toml")
