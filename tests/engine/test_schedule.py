"""Who computes when: texts ahead of their readers, prefixes, fairness, and what goes wrong."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mtgen.engine import LlamaRuntime, native
from mtgen.engine.schedule import AHEAD, ROUNDS, STEPS, Turn
from mtgen.errors import InterruptedWorkError
from tests.conftest import save_tiny
from tests.threads import kill

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiler, or no AVX2")

PROMPT = torch.arange(5, 45)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schedule")
    save_tiny(folder)
    return LlamaRuntime(folder)


def greedy(logits):
    return int(logits.argmax())


def start(runtime, choose=greedy, capacity=200, stop=None, prompt=PROMPT):
    cache = runtime.new_cache(capacity)
    return runtime.generate(prompt, cache, choose, stop or threading.Event())


def until(condition, timeout_s=5.0):
    ends = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    return condition()


def test_a_text_ends_where_its_cache_is_full_or_the_choice_is_none(runtime):
    assert len(list(start(runtime, capacity=60))) == 21, "the last token is never read"
    left = iter(range(7))
    assert len(list(start(runtime, lambda logits: next(left, None)))) == 7


def test_what_nobody_reads_is_computed_a_little_ahead_and_then_waits(runtime):
    count = 0

    def choose(logits):
        nonlocal count
        count += 1
        return 9

    tokens = start(runtime, choose)
    assert next(tokens) == 9
    assert until(lambda: count > AHEAD)
    time.sleep(0.1)
    assert count <= AHEAD + 1
    assert len(list(tokens)) == 160, "and goes on when it is read"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_thread_that_computes_is_killed_nobody_waits_and_the_next_is_served(runtime):
    wanted = list(start(runtime, capacity=100))
    streams = [start(runtime, lambda logits: 9, capacity=4000) for _ in range(3)]
    assert all(next(tokens) == 9 for tokens in streams)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with contextlib.suppress(InterruptedWorkError):
                runtime.forward(PROMPT, runtime.new_cache(40))

    asking = ThreadPoolExecutor(1).submit(ask)
    thread = runtime.schedule._thread
    assert kill(thread)
    thread.join(5)
    assert not thread.is_alive()
    for tokens in streams:
        with pytest.raises(InterruptedWorkError, match="ask again"):
            list(tokens)
    over.set()
    asking.result(5)
    assert list(start(runtime, capacity=100)) == wanted


def test_a_text_that_is_stopped_or_dropped_computes_no_more(runtime):
    counts = [0, 0]

    def choose(which):
        def one(logits):
            counts[which] += 1
            return 9

        return one

    stop = threading.Event()
    stopped, dropped = start(runtime, choose(0), stop=stop), start(runtime, choose(1))
    next(stopped), next(dropped)
    stop.set()
    del dropped
    gc.collect()
    assert until(lambda: not runtime.schedule._jobs)
    before = list(counts)
    assert len(list(stopped)) <= AHEAD
    time.sleep(0.05)
    assert counts == before


def test_an_error_in_one_choice_is_that_texts_own(runtime):
    def fails(logits):
        raise ZeroDivisionError("here")

    with ThreadPoolExecutor(2) as pool:
        fine = pool.submit(lambda: list(start(runtime, capacity=80)))
        with pytest.raises(ZeroDivisionError, match="here"):
            list(start(runtime, fails))
        assert len(fine.result()) == 41


def test_texts_beside_each_other_and_a_long_prompt_are_what_they_are_alone(runtime):
    prompts = [torch.arange(n, n + 10 + 40 * n) % 300 for n in range(1, 6)]

    def text(prompt):
        return list(start(runtime, capacity=len(prompt) + 30, prompt=prompt))

    alone = list(map(text, prompts))
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(text, prompts)) == alone


def test_a_text_that_begins_like_one_before_reads_only_the_rest(runtime):
    runtime.prefixes._kept.clear()
    ids = PROMPT.tolist()
    cache, known = runtime.begin(ids, 60)
    assert known == 0
    written = list(runtime.generate(PROMPT, cache, greedy, threading.Event()))
    runtime.keep([*ids, *written], cache)
    longer = [*ids, *written[:10], 3, 4, 5]
    cache, known = runtime.begin(longer, 80)
    assert known == len(ids) + 10
    rest = torch.tensor(longer[known:])
    found = list(runtime.generate(rest, cache, greedy, threading.Event()))
    assert found == list(start(runtime, capacity=80, prompt=torch.tensor(longer)))
    _, known = runtime.begin(ids, 60)
    assert known == len(ids) - 1, "the last position is computed again: its logits are needed"
    assert runtime.begin([7, *ids], 60)[1] == 0


def test_kept_texts_stay_within_their_room(runtime, monkeypatch):
    monkeypatch.setattr("mtgen.engine.cache.MOST_KEPT", 100_000)
    for first in range(40):
        ids = torch.arange(first, first + 100)
        cache, _ = runtime.begin(ids.tolist(), 100)
        runtime.forward(ids, cache)
        runtime.keep(ids.tolist(), cache)
    assert sum(data.nbytes for _, data in runtime.prefixes._kept) <= 100_000


def test_the_thread_that_computes_ends_and_begins_again(runtime, monkeypatch):
    monkeypatch.setattr("mtgen.engine.schedule.IDLE_S", 0.05)
    runtime.forward(PROMPT, runtime.new_cache(40))
    assert until(lambda: runtime.schedule._thread is None)
    runtime.forward(PROMPT, runtime.new_cache(40))


def test_each_kind_of_work_gets_as_much_time():
    """Long rounds beside short steps with pauses between them, half a second of both."""
    turn, used, ends = Turn(), {STEPS: 0.0, ROUNDS: 0.0}, time.monotonic() + 1.0

    def work(kind, length_s, pause_s):
        while time.monotonic() < ends:
            with turn.of(kind):
                began = time.monotonic()
                time.sleep(length_s)
                used[kind] += time.monotonic() - began
            time.sleep(pause_s)

    threads = [
        threading.Thread(target=work, args=args)
        for args in ((STEPS, 0.005, 0.0005), (ROUNDS, 0.06, 0.001))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.5 < used[STEPS] / used[ROUNDS] < 2, used


def test_a_kind_of_work_that_was_away_does_not_catch_up():
    turn = Turn()
    for _ in range(10):
        with turn.of(ROUNDS):
            time.sleep(0.02)
    time.sleep(0.12)
    began = time.monotonic()
    with turn.of(STEPS):
        time.sleep(0.02)
    with turn.of(ROUNDS):
        pass
    assert time.monotonic() - began < 0.1


def test_an_error_gives_the_turn_back():
    turn = Turn()
    with pytest.raises(ZeroDivisionError), turn.of(STEPS):
        raise ZeroDivisionError
    with turn.of(ROUNDS):
        pass
