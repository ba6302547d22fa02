"""Each metric against its golden file, loaded as `evaluate` loads it, offline."""

from __future__ import annotations

import json
import math

import pytest

from evals.metrics import EXTRACT, MetricUse, load_metric
from evals.metrics.checks import passes
from mtgen.errors import UnknownNameError
from tests.conftest import ROOT


def golden(name: str) -> list[dict]:
    return json.loads((ROOT / "tests" / "golden" / f"{name}.json").read_text("utf-8"))["cases"]


def test_every_metric_has_a_golden_file_and_is_an_evaluate_module():
    import evaluate

    for name in EXTRACT:
        assert golden(name)
        assert isinstance(load_metric(name), evaluate.Metric)


@pytest.mark.parametrize("case", golden("instruction_following"), ids=lambda c: c["text"][:20])
def test_checks_judge_as_a_person_would(case):
    assert passes(case["text"], case["check"]) == case["passes"]


def test_instruction_following_counts_prompts_that_pass_every_check():
    checks = json.dumps([{"type": "contains", "any": ["a"]}, {"type": "words", "min": 1, "max": 1}])
    result = load_metric("instruction_following").compute(
        predictions=["a", "a b"], references=[checks, checks]
    )
    assert result == {"value": 0.5, "per_sample": [[1.0], [0.0]]}


def test_an_unknown_check_fails_loudly():
    with pytest.raises(ValueError, match="unknown check 'rhymes'"):
        passes("x", {"type": "rhymes"})


@pytest.mark.parametrize("name", ["distinct_n", "repetition"])
def test_text_statistics(name):
    for case in golden(name):
        result = load_metric(name).compute(predictions=case["texts"], **case["options"])
        assert result["per_sample"] == case["per_sample"]


@pytest.mark.parametrize("name", ["perplexity", "latency"])
def test_numbers(name):
    for case in golden(name):
        inputs = {k: v for k, v in case.items() if k != "value"}
        assert load_metric(name).compute(**inputs)["value"] == pytest.approx(case["value"])


def test_an_unknown_metric_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="no metric named 'perplexty'.* mean 'perplexity'"):
        load_metric("perplexty")


def record(**fields) -> dict:
    return {"id": "x", "kind": "text", "sample": {}, "output": None, "nll": None} | fields


def test_a_score_counts_what_it_could_not_score():
    use = MetricUse(metric="repetition", unit="share", higher_is_better=False, options={"n": 4})
    records = [record(id="1", output="a b c d e"), record(id="2", output="a"), record(id="3")]
    score = use.score(records)
    assert (score.value, score.ci95, score.n_scored, score.n_unscored) == (0.0, None, 1, 2)
    assert score.signature.startswith("repetition|n:4|agg:mean|v:1")


def test_with_nothing_to_score_the_value_is_missing_and_not_zero():
    use = MetricUse(metric="perplexity", unit="per token", higher_is_better=False)
    score = use.score([record(kind="likelihood")])
    assert (score.value, score.ci95, score.n_scored, score.n_unscored) == (None, None, 0, 1)
    assert not any(isinstance(v, float) and math.isnan(v) for v in score.as_dict().values())
