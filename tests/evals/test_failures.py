"""What goes wrong with one sample or one metric: time-outs, crashes, empty answers."""

from __future__ import annotations

import json
import time

import pytest
import torch

from evals.metrics import load_metric
from evals.models import Foreign
from evals.models.base import TimeLimit
from evals.models.causal import Causal
from evals.reports.page import run_page
from evals.reports.tables import compare, read_run, run_markdown
from evals.runner import ask as asking
from evals.runner.records import RunFolder
from evals.runner.run import MAX_FAILED, run_suite
from evals.suites import SUITES, TextSample, TranslationSample
from mtgen.errors import CacheWriteError, WorkerError
from mtgen.requests import Generation, TextRequest, Timings

SMOKE, TRANSLATION = SUITES["smoke"], SUITES["translation-everyday"]


class Moody(Foreign):
    """Answers with the prompt; raises what it was told to, each once.

    Args:
        errors: By prompt.
        said: What it answers instead of the prompt.
    """

    def __init__(self, errors: dict[str, list[BaseException]], said: str | None = None) -> None:
        super().__init__("moody", ("text", "likelihood", "translation"))
        self.errors, self.said = errors, said
        self.asked: list[str] = []

    def answer(self, text: str) -> str:
        self.asked.append(text)
        if self.errors.get(text):
            raise self.errors[text].pop()
        return text if self.said is None else self.said

    def text(self, request, *, stop=None):
        timings = Timings(num_prompt_tokens=1, num_new_tokens=1, first_token_s=0.1, total_s=0.2,
                          num_decode_steps=1, decode_s=0.1)  # fmt: skip
        return Generation(text=self.answer(request.prompt), request=request, model=self.model,
                          finish_reason="stop", timings=timings)  # fmt: skip

    def log_likelihood(self, text):
        return torch.zeros(3) - 1

    def translate_all(self, texts, *, source, target, stop=None, **settings):
        return [self.answer(text) for text in texts]


PROMPTS = [sample.prompt for sample in SMOKE.samples()[:4]]  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(asking, "FIRST_PAUSE_S", 0.0)


def test_a_crash_of_one_sample_is_its_error_and_the_run_goes_on(tmp_path):
    crash = IndexError("list index out of range")
    model = Moody({PROMPTS[1]: [crash, crash]})
    assert run_suite(SMOKE, model, tmp_path, limit=4)
    errors = [record["error"] for record in RunFolder(tmp_path).records()]
    assert errors == [None, "IndexError: list index out of range", *[None] * 6]
    following = read_run(tmp_path).scores[0]
    assert (following.n_scored, following.n_unscored) == (3, 1)


def test_a_sample_is_asked_again_as_often_as_was_said(tmp_path):
    model = Moody({PROMPTS[0]: [OSError("gone")]})
    run_suite(SMOKE, model, tmp_path / "once", limit=1)
    assert RunFolder(tmp_path / "once").records()[0]["error"] is None
    model = Moody({PROMPTS[0]: [OSError("gone")]})
    run_suite(SMOKE, model, tmp_path / "never", limit=1, retries=0)
    assert RunFolder(tmp_path / "never").records()[0]["error"] == "OSError: gone"


def test_errors_on_disk_stay_unless_they_are_to_be_asked_again(tmp_path):
    model = Moody({PROMPTS[0]: [OSError("gone")]})
    run_suite(SMOKE, model, tmp_path, limit=2, retries=0)
    before = list(model.asked)
    run_suite(SMOKE, model, tmp_path, limit=2)
    assert model.asked == before
    run_suite(SMOKE, model, tmp_path, limit=2, retry_errors=True)
    assert model.asked == [*before, PROMPTS[0]]
    assert [record["error"] for record in RunFolder(tmp_path).records()] == [None] * 4


@pytest.mark.parametrize(
    "error", [CacheWriteError("disk full"), MemoryError(), KeyboardInterrupt()]
)
def test_what_every_sample_would_meet_ends_the_run(tmp_path, error):
    with pytest.raises(type(error)):
        run_suite(SMOKE, Moody({PROMPTS[2]: [error]}), tmp_path, limit=4)
    assert len(RunFolder(tmp_path).records()) == 2


def test_a_model_that_fails_everywhere_ends_the_run(tmp_path):
    prompts = [sample.prompt for sample in SMOKE.samples() if isinstance(sample, TextSample)]
    errors = {prompt: [OSError("gone")] for prompt in prompts}
    with pytest.raises(WorkerError, match=r"20 samples failed .* OSError: gone; .*--retry-errors"):
        run_suite(SMOKE, Moody(errors), tmp_path, retries=0)
    assert len(RunFolder(tmp_path).records()) == MAX_FAILED


def test_a_crash_in_a_batch_of_translations_leaves_one_unscored(tmp_path):
    french = TRANSLATION.samples()[1]
    assert isinstance(french, TranslationSample)
    crash = RuntimeError("no such size")
    run_suite(TRANSLATION, Moody({french.text: [crash] * 9}), tmp_path, limit=12)
    errors = {record["id"]: record["error"] for record in RunFolder(tmp_path).records()}
    assert errors.pop(french.id) == "RuntimeError: no such size"
    assert list(errors.values()) == [None] * 11


def test_an_answer_that_takes_too_long_is_unscored(tiny, tmp_path):
    run_suite(SMOKE, tiny, tmp_path, limit=2, timeout_s=0.001)
    texts = [record for record in RunFolder(tmp_path).records() if record["kind"] == "text"]
    for record in texts:
        assert record["error"] == "no answer within 0.001 s a sample"
        assert record["output"] is None
        assert record["transient"]
    assert run_suite(SMOKE, tiny, tmp_path, limit=2, retry_errors=True, timeout_s=1000.0)
    again = [record for record in RunFolder(tmp_path).records() if record["kind"] == "text"]
    assert [record["error"] for record in again] == [None, None]


def test_time_over_ends_a_batch_of_translations(tiny_trunk, tiny_translation_weights, tmp_path):
    import mtgen

    model = mtgen.load(tiny_trunk, weights=tiny_translation_weights, progress=False)
    started = time.monotonic()
    run_suite(TRANSLATION, model, tmp_path, limit=12, timeout_s=0.001)
    records = RunFolder(tmp_path).records()
    assert [record["error"] for record in records] == ["no answer within 0.001 s a sample"] * 12
    assert time.monotonic() - started < 60


def test_models_of_transformers_can_be_stopped(tiny_trunk):
    model = Causal(tiny_trunk, "theirs")
    limit = TimeLimit()
    limit.set()
    request = TextRequest(prompt="Hello", seed=1, temperature=1.0, max_new_tokens=64)
    answer = model.text(request, stop=limit)
    assert answer.finish_reason == "cancelled"
    assert answer.timings.num_new_tokens <= 1
    with pytest.raises(TimeoutError):
        limit.check(answer)
    assert model.translate_all(["One."], source="en", target="fr", stop=limit) == [""]


def test_empty_answers_are_scored(tmp_path):
    for suite in (SMOKE, TRANSLATION):
        run_suite(suite, Moody({}, said=""), tmp_path / suite.name, limit=6)
        run = read_run(tmp_path / suite.name)
        assert all(record["error"] is None for record in run.records)
        assert not any(score.error for score in run.scores)
    by_name = {score.name: score.value for score in run.scores}
    assert by_name["chrf_pp_en-fr"] == 0


def test_a_metric_that_fails_hides_no_other(tmp_path, monkeypatch):
    run_suite(SMOKE, Moody({}), tmp_path, limit=3)

    def compute(**columns):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(load_metric("repetition"), "compute", compute)
    run = read_run(tmp_path)
    by_name = {score.name: score for score in run.scores}
    failed = by_name.pop("repetition_4")
    assert (failed.value, failed.n_scored, failed.n_unscored) == (None, 0, 3)
    assert failed.error == "ZeroDivisionError: division by zero"
    assert all(score.value is not None for score in by_name.values())
    said = "repetition_4 could not be computed: ZeroDivisionError: division by zero"
    assert said in run_markdown(run)
    assert said in run_page(run)
    assert {d.name: d.n_unscored for d in compare(run, run)}["repetition_4"] == 3


@pytest.mark.slow
def test_samples_are_a_table_with_a_value_of_each_metric(shell, tmp_path):
    import datasets

    crash = IndexError("list index out of range")
    run_suite(SMOKE, Moody({PROMPTS[1]: [crash, crash]}), tmp_path, limit=3)
    done = shell("-m", "evals", "report", tmp_path)
    assert done.returncode == 0, done.stderr
    path, cache = str(tmp_path / "samples.parquet"), str(tmp_path / "cache")
    rows = list(datasets.Dataset.from_parquet(path, cache_dir=cache))
    records = RunFolder(tmp_path).records()
    assert [row["id"] for row in rows] == [record["id"] for record in records]
    assert rows[0]["asked"] == rows[0]["output"] == PROMPTS[0]
    assert rows[1]["error"] == "IndexError: list index out of range"
    assert rows[1]["score:repetition_4"] is None
    assert rows[0]["score:instruction_following"] in (0.0, 1.0)
    assert rows[0]["score:latency_first_token_s"] == 0.1
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert scores["suite"] == "smoke"
    expected = [score.value for score in read_run(tmp_path).scores]
    assert [score["value"] for score in scores["scores"]] == expected
