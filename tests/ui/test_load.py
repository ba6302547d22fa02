"""The load test: what it says of what users saw, and a short one on a real page."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evals.load import SETTLED_S, Answer, main, percentiles, summary
from mtgen.errors import BadRequestError


def answer(task="text", key="a", digest="1", error=None, took_s=1.0):
    return Answer(task, 0, 0.0, took_s, took_s / 2, key, digest, error)


def test_what_the_users_saw_is_counted_by_task():
    answers = [answer(took_s=float(n)) for n in range(1, 101)]
    answers += [answer("image", "b", "2"), answer("image", "b", None, "busy")]
    found = summary(answers, [])
    assert found["tasks"]["text"]["answers"] == 100
    assert found["tasks"]["text"]["whole_s"] == percentiles([float(n) for n in range(1, 101)])
    assert found["tasks"]["image"]["answers"] == 1
    assert found["errors"] == {"busy": 1}
    assert found["memory"] is None


def test_a_question_with_two_answers_is_seen():
    same = [answer(key="a", digest="1"), answer(key="a", digest="1"), answer(key="b", digest="2")]
    assert summary(same, [])["questions_with_several_answers"] == 0
    assert summary([*same, answer(key="b", digest="3")], [])["questions_with_several_answers"] == 1


def test_growth_is_that_of_memory_once_it_has_settled():
    times = np.arange(0, 3 * SETTLED_S, 5.0)
    flat = [(float(t), 500.0 if t >= SETTLED_S else float(t)) for t in times]
    assert summary([], flat)["memory"]["growth"] == 0
    rising = [(float(t), 500 + float(t) / 10) for t in times]
    assert summary([], rising)["memory"]["growth"] > 0.05


def test_a_folder_that_holds_a_test_is_not_written_over(tmp_path):
    (tmp_path / "answers.jsonl").write_text("")
    with pytest.raises(BadRequestError, match="holds a load test already"):
        main(["--out", str(tmp_path)])


@pytest.mark.slow
def test_users_of_a_real_page_get_all_their_answers_and_the_same_for_a_seed(server, tmp_path):
    out = tmp_path / "load"
    main([
        "--url", server.url, "--pid", str(server.process.pid), "--users", "6",
        "--minutes", "0.3", "--out", str(out),
    ])  # fmt: skip
    found = json.loads((out / "summary.json").read_text("utf-8"))
    assert found["errors"] == {}
    assert set(found["tasks"]) >= {"text", "translate"}
    assert found["questions_with_several_answers"] == 0
    assert (out / "load.png").stat().st_size > 5000
