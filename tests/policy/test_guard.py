"""The pipeline of a public page: refuses, counts and logs, and is otherwise the pipeline."""

from __future__ import annotations

import datetime
import json

import pytest

from mtgen.errors import LimitError, PolicyError, SettingError
from mtgen.policy import Policy, Rule
from mtgen.policy.guard import Guarded
from mtgen.policy.limits import MAX_VISITORS, LimitConfig, Limits, in_time
from mtgen.policy.log import Log
from mtgen.requests import Message

TEA = Policy((Rule(name="tea", says="no tea", tasks=("text", "image"), words=("tea",)),))


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def guarded(pipeline, **more):
    return Guarded(pipeline, lambda: "someone", policy=TEA, **more)


def test_a_prompt_that_breaks_a_rule_is_refused_by_name(tiny):
    page = guarded(tiny)
    for prompt in ("I like T3A", "I like t\u200bea"):
        with pytest.raises(PolicyError, match="refused by this page's rule 'tea': no tea"):
            page.text_stream(prompt, max_new_tokens=5)
    with pytest.raises(PolicyError):
        page.text_stream("Hello", system="Talk about tea.", max_new_tokens=5)
    stream = page.text_stream("I like coffee", max_new_tokens=5)
    assert stream.generation.timings.num_new_tokens <= 5
    assert page.model == tiny.model
    assert page.verify("some words").kind == "text"


def test_nothing_that_is_said_goes_past_the_rules(tiny, tiny_image):
    history = [Message(role="user", content="tea"), Message(role="assistant", content="Yes.")]
    with pytest.raises(PolicyError):
        guarded(tiny).text_stream("Go on", history=history, max_new_tokens=1)
    with pytest.raises(PolicyError):
        guarded(tiny_image).image_stream("a tree", negative_prompt="tea", guidance_scale=0)


def test_verifications_are_counted(tiny, clock):
    page = guarded(tiny, limits=Limits(LimitConfig(per_minute=1), clock))
    page.verify("some words")
    with pytest.raises(LimitError):
        page.verify("some words")
    assert page.unguarded is tiny


def test_an_answer_that_breaks_a_rule_is_stopped(tiny):
    said = tiny.text("Hello", max_new_tokens=120, seed=1, temperature=1.0).text
    word = max((w for w in said.split() if w.isascii() and w.isalpha()), key=len).lower()
    policy = Policy((Rule(name="word", says="not this", tasks=("text",), words=(word,)),))
    page = Guarded(tiny, lambda: "someone", policy=policy)
    stream = page.text_stream("Hello", max_new_tokens=120, seed=1, temperature=1.0)
    with pytest.raises(PolicyError, match="the answer was stopped"):
        list(stream)
    with pytest.raises(PolicyError):
        page.text_stream("Hello", max_new_tokens=120, seed=1, temperature=1.0).generation  # noqa: B018


def test_each_visitor_has_requests_a_minute(clock):
    limits = Limits(LimitConfig(per_minute=2), clock)
    limits.admit("a")
    clock.now += 20
    limits.admit("a")
    with pytest.raises(LimitError, match="2 requests a minute.*try again in 40 s"):
        limits.admit("a")
    limits.admit("b")
    clock.now += 41
    limits.admit("a")


def test_all_visitors_share_the_day(clock):
    limits = Limits(LimitConfig(per_day=2), clock)
    limits.admit("a")
    limits.admit("b")
    with pytest.raises(LimitError, match="its 2 answers of today; it goes on in 24 h"):
        limits.admit("c")
    clock.now += 86_401
    limits.admit("c")


def test_strangers_do_not_fill_the_memory(clock):
    limits = Limits(LimitConfig(per_minute=1), clock)
    for number in range(MAX_VISITORS + 100):
        limits.admit(str(number))
    assert len(limits._visits) == MAX_VISITORS


def test_limits_come_from_the_environment():
    assert LimitConfig.of({}) == LimitConfig()
    assert LimitConfig.of({"MTGEN_PER_MINUTE": "6", "MTGEN_PER_DAY": "900"}) == LimitConfig(
        per_minute=6, per_day=900
    )
    with pytest.raises(SettingError, match="MTGEN_PER_DAY must be a whole number from 0"):
        LimitConfig.of({"MTGEN_PER_DAY": "many"})
    assert [in_time(s) for s in (0.2, 80, 600, 7200)] == ["1 s", "80 s", "10 min", "2 h"]


def test_the_log_has_hashes_and_counts_and_no_prompt(tiny, tmp_path):
    path = tmp_path / "log.jsonl"
    page = guarded(tiny, log=Log(path, b"secret"))
    page.text_stream("I like coffee", max_new_tokens=1)
    with pytest.raises(PolicyError):
        page.text_stream("I like tea", max_new_tokens=1)
    text = path.read_text("utf-8")
    assert "coffee" not in text
    assert "someone" not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["task"], line["refused"], line["characters"]) for line in lines] == [
        ("text", None, 13), ("text", "tea", 10),
    ]  # fmt: skip


def test_old_lines_are_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=31)
    path.write_text(json.dumps({"time": old.isoformat(timespec="minutes"), "task": "old"}) + "\n")
    Log(path, b"secret").add("text", "x", None)
    [line] = path.read_text("utf-8").splitlines()
    assert json.loads(line)["task"] == "text"


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path):
    Log(tmp_path / "missing" / "log", b"secret").add("text", "x", None)
    Log(None, b"secret").add("text", "x", None)
