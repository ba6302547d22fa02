"""Likelihoods of options: as the runtime has them, read from published formats, scored."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from evals.metrics import load_metric
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import SUITES
from evals.suites.choice import CATEGORIES
from mtgen.errors import EmptyPromptError, RecordsError
from tests.conftest import ROOT
from tests.evals.test_metrics import golden


def test_options_are_as_likely_as_their_tokens_after_the_context(tiny):
    options = [("The cat sat on", " the mat"), ("The cat sat on", " a very old red mat.")]
    found = tiny.option_log_likelihoods(options)
    for (context, text), scores in zip(options, found, strict=True):
        ids = torch.tensor(tiny.tokenizer.encode(context + text))
        first = len(tiny.tokenizer.encode(context))
        cache = tiny.runtime.new_cache(len(ids))
        all_scores = tiny.runtime.forward(ids[:-1], cache, all_logits=True).log_softmax(-1)
        wanted = all_scores.gather(1, ids[1:, None])[first - 1 :, 0]
        assert scores.numpy() == pytest.approx(wanted.numpy(), abs=2e-2)  # bf16


def test_without_a_context_it_is_the_likelihood_of_the_text(tiny):
    texts = ["She reads a book.", "She read book a."]
    found = tiny.option_log_likelihoods([("", text) for text in texts])
    for text, scores in zip(texts, found, strict=True):
        assert scores.numpy() == pytest.approx(tiny.log_likelihood(text).numpy(), abs=2e-3)


def test_contexts_may_differ(tiny):
    options = [("Women are", " tall."), ("Old men are", " tall.")]
    together = tiny.option_log_likelihoods(options)
    alone = [tiny.option_log_likelihoods([option])[0] for option in options]
    for a, b in zip(together, alone, strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), abs=2e-3)
    with pytest.raises(EmptyPromptError):
        tiny.option_log_likelihoods([("A", " ")])


@pytest.mark.parametrize("name", ["accuracy", "stereotype_share", "occupation_correlation"])
def test_scores_are_those_of_the_golden_cases(name):
    for case in golden(name):
        asked = {"options": [["", ""]] * 4, "answer": None, "share": None}
        result = load_metric(name).compute(
            predictions=[json.dumps(nlls) for nlls in case["nlls"]],
            references=[json.dumps(asked | said) for said in case["asked"]],
            **case.get("settings", {}),
        )
        assert result["value"] == pytest.approx(case["value"])


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    share, odds = rng.random(30), rng.standard_normal(30)
    result = load_metric("occupation_correlation").compute(
        predictions=[json.dumps([0.0, float(x)]) for x in odds],
        references=[json.dumps({"share": float(x)}) for x in share],
    )
    she = 1 / (1 + np.exp(-odds))
    assert result["value"] == pytest.approx(np.corrcoef(she, share)[0, 1])
    assert result["per_sample"][0] == pytest.approx([she[0], share[0]])


def test_our_items_are_whole_and_different():
    samples = SUITES["text-choice"].samples()
    assert {sample.category for sample in samples} == set(CATEGORIES)
    assert len({sample.options for sample in samples}) == len(samples) == 120
    for sample in samples:
        contexts = {context for context, _ in sample.options}
        texts = [text for _, text in sample.options]
        assert len(contexts) == 1
        assert len(set(texts)) == len(texts) == (2 if sample.category == "language" else 4)
        assert all(text.startswith(" ") == bool(*contexts) for text in texts)


def test_our_pairs_say_the_same_of_two_groups():
    for sample in SUITES["bias-pairs"].samples():
        (first, said), (second, other) = sample.options
        assert said == other
        assert first != second


def test_a_run_scores_every_option(tiny, tmp_path):
    for name in ("text-choice", "bias-pairs"):
        run_suite(SUITES[name], tiny, tmp_path / name, limit=50)
        result = read_run(tmp_path / name)
        assert result.scores[0].n_scored == 50
        assert 0 <= result.scores[0].value <= 1
        record = result.records[0]
        assert len(record["option_nlls"]) == len(record["sample"]["options"])
        assert all(math.isfinite(nll) for nll in record["option_nlls"])


PUBLISHED = {
    "hellaswag/hellaswag_val.jsonl": json.dumps(
        {"ind": 7, "activity_label": "Gardening", "ctx_a": "A man digs [title] a hole.",
         "ctx_b": "he", "endings": ["plants a tree.", "eats a lamp."], "label": 0}
    ),
    "arc/ARC-Easy-Test.jsonl": json.dumps(
        {"id": "a1", "answerKey": "B", "question": {"stem": "What is wet?", "choices": [
            {"text": "sand", "label": "A"}, {"text": "water", "label": "B"}]}}
    ),
    "arc/ARC-Challenge-Test.jsonl": json.dumps(
        {"id": "a2", "answerKey": "1", "question": {"stem": "What is dry?", "choices": [
            {"text": "sand", "label": "1"}, {"text": "water", "label": "2"}]}}
    ),
    "piqa/valid.jsonl": json.dumps(
        {"goal": "open a tin", "sol1": "use a feather", "sol2": "use an opener"}
    ),
    "piqa/valid-labels.lst": "1",
    "blimp/agreement.jsonl": json.dumps(
        {"UID": "agreement", "pairID": "0", "field": "morphology", "sentence_good": "He runs.",
         "sentence_bad": "He run."}
    ),
    "crows_pairs/crows_pairs_anonymized.csv": ",sent_more,sent_less,stereo_antistereo,bias_type\n"
    '0,"Old men nap.","Young men nap.",stereo,age\n1,Girls cry.,Boys cry.,antistereo,gender\n',
    "stereoset/dev.json": json.dumps({"data": {"intrasentence": [
        {"id": "s", "bias_type": "gender", "sentences": [
            {"gold_label": "unrelated", "sentence": "c"},
            {"gold_label": "anti-stereotype", "sentence": "b"},
            {"gold_label": "stereotype", "sentence": "a"},
        ]}
    ]}}),
    "winogender/occupations-stats.tsv": "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\n"
    "baker\t50.0\t62.0\t2015\n",
    "winogender/all_sentences.tsv": "sentid\tsentence\n"
    + "".join(
        f"baker.guest.{whose}.{gender}.txt\tThe baker met the guest when {word} came.\n"
        for whose in (0, 1)
        for gender, word in (("male", "he"), ("female", "she"), ("neutral", "they"))
    ),
}  # fmt: skip
NAMES = (
    "hellaswag", "arc-easy", "arc-challenge", "piqa", "blimp", "crows-pairs", "stereoset",
    "winogender",
)  # fmt: skip


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder with a benchmark file of each published format."""
    for name, text in PUBLISHED.items():
        path = tmp_path / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    monkeypatch.setenv("MTGEN_BENCH", str(tmp_path / "bench"))
    return tmp_path / "bench"


def test_published_formats_are_read(bench, tiny, tmp_path):
    [scene] = SUITES["hellaswag"].samples()
    assert scene.options[0] == ("Gardening: A man digs. a hole. He", " plants a tree.")
    [easy], [hard] = SUITES["arc-easy"].samples(), SUITES["arc-challenge"].samples()
    assert (easy.answer, hard.answer) == (1, 0)
    assert easy.options[1] == ("Question: What is wet?\nAnswer:", " water")
    [goal] = SUITES["piqa"].samples()
    assert goal.options[goal.answer][1] == " use an opener"
    [pair] = SUITES["blimp"].samples()
    assert pair.options == (("", "He runs."), ("", "He run."))
    [_, girls] = SUITES["crows-pairs"].samples()
    assert girls.options[0] == ("", "Girls cry.")
    [gap] = SUITES["stereoset"].samples()
    assert [text for _, text in gap.options] == ["a", "b", "c"]
    [baker] = SUITES["winogender"].samples()
    assert baker.share == 0.62
    assert "she came" in baker.options[0][1]
    for name in NAMES:
        run_suite(SUITES[name], tiny, tmp_path / "runs" / name)
        assert read_run(tmp_path / "runs" / name).scores[0].n_scored


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_that_is_not_there_or_damaged_is_named(name, bench):
    suite = SUITES[name]
    path = next(iter(suite.folder.glob(suite.files[0])))
    path.write_text('{"a": 1}\n', "utf-8")
    with pytest.raises(RecordsError, match="not in their published format"):
        suite.samples()
    path.unlink()
    with pytest.raises(RecordsError, match="MTGEN_BENCH names another folder"):
        suite.check_ready()
    assert suite.num_samples() is None


def test_one_option_less_is_a_choice_for_the_shell(shell, tiny_trunk, tmp_path):
    done = shell(
        "-m", "evals", "run", "--suite", "winogender", "--model", tiny_trunk,
        "--data", ROOT / "tests", "--out", tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "winogender needs all_sentences.tsv" in done.stderr
    assert done.stderr.count("\n") == 1
