"""Scores of translation: equal to sacrebleu's own, with intervals from its statistics."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from evals.metrics import MetricUse, load_metric
from evals.metrics.stats import (
    AGGREGATES,
    OF_SUMS,
    RESAMPLES,
    bootstrap_ci,
    paired_difference,
    summed_by_cluster,
)
from evals.metrics.translation import CorpusUse, LossUse, statistics
from evals.suites import SUITES
from tests.evals.test_metrics import golden

CORPUS = ("chrf_pp", "chrf_pp_caseless", "bleu", "ter")


def as_json(values) -> list[str]:
    return [json.dumps(value) for value in values]


@pytest.mark.parametrize("name", CORPUS)
def test_corpus_scores_are_those_of_sacrebleu(name):
    for case in golden(name):
        references = as_json(case["references"])
        result = load_metric(name).compute(predictions=case["predictions"], references=references)
        assert result["value"] == pytest.approx(case["value"], abs=1e-6)


def test_scores_of_our_own_sentences_are_those_of_the_sacrebleu_command(tmp_path):
    """All of English to German, each second word left out, against both references."""
    everyday = SUITES["translation-everyday"]
    records = [
        record(
            sample.id, " ".join(sample.references[0].split()[::2]),
            references=list(sample.references), category=sample.category,
        )
        for sample in everyday.samples() if sample.category == "en-de"
    ]  # fmt: skip
    assert len(records) == 300
    columns = {"hyp": [r["output"] for r in records]}
    columns |= {f"ref{n}": [r["sample"]["references"][n] for r in records] for n in (0, 1)}
    for name, lines in columns.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n", "utf-8")
    command = [sys.executable, "-m", "sacrebleu", "ref0", "ref1", "-i", "hyp", "-m", "bleu", "chrf",
               "ter", "--chrf-word-order", "2", "-f", "json", "-w", "6"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = {row["name"]: row for row in json.loads(done.stdout)}
    for metric, name in (("bleu", "BLEU"), ("chrf_pp", "chrF2++"), ("ter", "TER")):
        [use] = [use for use in everyday.metrics if use.name == f"{metric}_en-de"]
        score = use.score(records)
        assert score.value == pytest.approx(told[name]["score"], abs=1e-5)
        assert score.n_scored == 300
        fields = told[name]["signature"].split("|")
        assert f"version:{fields[-1].removeprefix('version:')}" in score.signature
        ours = score.signature.partition("|sacrebleu(")[2].partition(")")[0].split("|")
        assert set(fields) <= set(ours)


def test_a_loss_is_the_difference_of_two_corpus_scores():
    for case in golden("chrf_pp_loss"):
        columns = {name: as_json(case[name]) for name in ("predictions", "references")}
        result = load_metric("chrf_pp_loss").compute(**columns)
        assert result["value"] == pytest.approx(case["value"], abs=1e-6)


@pytest.mark.parametrize("name", ["empty", "kept", "kept_all"])
def test_counts(name):
    for case in golden(name):
        texts = case.get("texts") or case["predictions"]
        columns = {"references": as_json(case["references"])} if "references" in case else {}
        result = load_metric(name).compute(predictions=texts, **columns)
        assert result["per_sample"] == case["per_sample"]


@pytest.mark.parametrize("case", golden("not_answered"), ids=lambda case: case["output"][:20])
def test_answers_are_told_from_translations(case):
    asked = {name: case[name] for name in ("text", "reference", "answers")}
    result = load_metric("not_answered").compute(
        predictions=[case["output"]], references=as_json([asked])
    )
    assert result["value"] == case["translated"]


def corpus(size: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Sentences of few words, so that much matches, and some hypotheses are empty or short."""
    rng = random.Random(seed)
    words = [*"abcdefgh", "ein", "Haus", "haus,", "Läufer.", "(so)", "3,50"]

    def sentence(low: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(low, 12)))

    return [sentence(0) for _ in range(size)], [[sentence(1), sentence(1)] for _ in range(size)]


@pytest.mark.parametrize("name", CORPUS)
def test_sums_of_statistics_give_what_sacrebleu_computes_of_them(name):
    metric = load_metric(name)
    scorer = metric.scorer()
    rows = np.array(statistics(scorer, *corpus(200)))
    drawn = np.random.default_rng(0).integers(0, 200, (60, 200))
    for size in (1, 2, 5, 200):  # few sentences leave some orders without a match
        sums = rows[drawn[:, :size]].sum(1)
        ours = OF_SUMS[metric.aggregate](sums.T)
        theirs = [scorer._compute_score_from_stats([int(x) for x in row]).score for row in sums]
        if name == "ter":  # its reference lengths are means
            theirs = [scorer._compute_score_from_stats(list(row)).score for row in sums]
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("name", CORPUS)
def test_intervals_are_fast_hold_the_score_and_shrink_with_more_samples(name):
    metric = load_metric(name)
    widths = []
    for size in (75, 300):
        rows = statistics(metric.scorer(), *corpus(size))
        started = time.monotonic()
        interval = bootstrap_ci(rows, metric.aggregate)
        assert time.monotonic() - started < 2
        assert interval
        assert interval.method.startswith(f"bootstrap{RESAMPLES}@")
        low, high = interval.ci95
        assert low < AGGREGATES[metric.aggregate](rows) < high
        widths.append(high - low)
    assert 1.5 < widths[0] / widths[1] < 2.7  # about 2: the root of four


def test_paired_intervals_see_what_separate_ones_do_not():
    hypotheses, references = corpus(300)
    better = [
        f"{text} {first[0].split()[0]}"  # one word more of the reference in each
        for text, first in zip(hypotheses, references, strict=True)
    ]
    scorer = load_metric("chrf_pp").scorer()
    a, b = (statistics(scorer, texts, references) for texts in (hypotheses, better))
    value, ci95 = paired_difference(a, b, "chrf")
    assert value == pytest.approx(AGGREGATES["chrf"](b) - AGGREGATES["chrf"](a))
    assert ci95
    assert 0 < ci95[0] < value < ci95[1]
    apart = [bootstrap_ci(rows, "chrf").ci95 for rows in (a, b)]
    assert ci95[1] - ci95[0] < apart[0][1] - apart[0][0]
    assert paired_difference(a, a, "chrf") == (0, (0, 0))


def record(name: str, output: str | None, **sample) -> dict:
    fields = {"references": ["ein Haus am See"], "category": "en-de"} | sample
    return {"id": name, "kind": "translation", "sample": fields, "output": output}


def test_the_signature_holds_sacrebleus_own():
    use = CorpusUse(
        metric="chrf_pp", unit="of 100", higher_is_better=True, num_refs=1,
        options={"category": "en-de"},
    )  # fmt: skip
    records = [record("1", "ein Haus"), record("2", None), record("3", "x", category="en-fr")]
    score = use.score(records)
    assert (score.name, score.n_scored, score.n_unscored) == ("chrf_pp_en-de", 1, 1)
    scorer = load_metric("chrf_pp").scorer()
    scorer.corpus_score(["ein Haus"], [["ein Haus am See"]])
    assert f"|sacrebleu({scorer.get_signature()})" in score.signature


def test_a_loss_pairs_sentences_and_leaves_out_what_was_not_translated():
    use = LossUse(
        metric="chrf_pp_loss", unit="of 100", higher_is_better=False, num_refs=1,
        options={"variant": "typos"},
    )  # fmt: skip
    records = [
        record("1-plain", "ein Haus am See", variant="plain", of="1-plain"),
        record("1-typos", "ein Hund am See", variant="typos", of="1-plain"),
        record("1-caps", "EIN", variant="caps", of="1-plain"),
        record("2-plain", "ein Haus", variant="plain", of="2-plain"),
        record("2-typos", None, variant="typos", of="2-plain"),
        record("3-plain", "nicht so weit", variant="plain", of="3-plain"),
    ]
    score = use.score(records)
    assert (score.n_scored, score.n_unscored) == (1, 1)
    assert score.value
    assert 20 < score.value < 60


def test_repetition_counts_in_translations_too():
    use = MetricUse(metric="repetition", unit="share", higher_is_better=False, options={"n": 4})
    assert use.score([record("1", "la la la la la la")]).value > 0.8  # type: ignore[operator]


def test_translations_of_one_text_are_no_independent_samples():
    use = MetricUse(metric="kept_all", unit="share of texts", higher_is_better=True)

    def records(num_kept: int) -> list[dict]:
        """20 texts into three languages; the first ones are kept in all three."""
        return [
            record(f"{n}-{lang}", "7" if n < num_kept else "none", text=f"{n}: 7", keep=["7"])
            for n in range(20)
            for lang in ("fr", "de", "es")
        ]

    score = use.score(records(12))
    assert (score.value, score.n_scored) == (0.6, 60)
    assert score.ci95 == bootstrap_ci([[3.0, 3.0]] * 12 + [[0.0, 3.0]] * 8, "ratio").ci95
    alone = bootstrap_ci([[1.0]] * 36 + [[0.0]] * 24, "mean").ci95
    assert score.ci95[1] - score.ci95[0] > 1.5 * (alone[1] - alone[0])
    a, b, paired, n, _ = use.paired(records(12), records(15))
    assert (a, b, n) == (0.6, 0.75, 60)
    # three texts moved, not nine translations; 2 / 2**3, give or take chance in 9,999 draws
    assert paired.p_value == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("aggregate", ["mean", "ratio", "chrf", "bleu", "ter", "exp_ratio"])
def test_sums_over_clusters_are_the_same_score(aggregate):
    width = {"mean": 1, "chrf": 24, "bleu": 10}.get(aggregate, 2)
    rows = np.random.default_rng(0).integers(1, 9, (30, width)).astype(float).tolist()
    summed, of_clusters = summed_by_cluster(rows, [n // 3 for n in range(30)], aggregate)
    assert len(summed) == 10
    assert AGGREGATES[of_clusters](summed) == pytest.approx(AGGREGATES[aggregate](rows))
    assert summed_by_cluster(rows, list(range(30)), aggregate) == (rows, aggregate)
