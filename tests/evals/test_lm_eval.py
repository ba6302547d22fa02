"""lm-evaluation-harness: it scores our exported trunk as we do, and its results are read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import mtgen
from evals.reports.leaderboard import read_entries
from evals.reports.lm_eval import read_results
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import SUITES
from mtgen.errors import RecordsError
from mtgen.model.export import export

CHOICE = SUITES["text-choice"]
TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files: {{test: {data}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
target_delimiter: "{delimiter}"
metric_list:
  - metric: acc
  - metric: acc_norm
metadata:
  version: 1.0
"""


def write_tasks(folder, samples) -> list[str]:
    """Our items as tasks of the harness: those after a context, and those without one.

    The space before a continuation is the harness's delimiter, so that both count the same
    characters for `acc_norm`.
    """
    tasks = []
    for name, delimiter in (("mtgen_choice", " "), ("mtgen_sentences", "")):
        rows = [
            {"context": sample.options[0][0], "answer": sample.answer,
             "choices": [text.removeprefix(delimiter) for _, text in sample.options]}
            for sample in samples if bool(sample.options[0][0]) == bool(delimiter)
        ]  # fmt: skip
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        task = TASK.format(name=name, data=data, delimiter=delimiter)
        (folder / f"{name}.yaml").write_text(task, "utf-8")
        tasks.append(name)
    return tasks


def theirs(folder, model, samples, first_id: int) -> tuple[dict, dict]:
    """The harness over its own `hf` model: scores, and log-likelihoods of each item's options.

    Its results are on disk as its command writes them.
    """
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    tasks = write_tasks(folder, samples)
    tracker = EvaluationTracker(output_path=str(folder / "out"))
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(model), "dtype": "float32", "prefix_token_id": first_id},
        tasks=tasks, device="cpu", batch_size=8, evaluation_tracker=tracker, log_samples=True,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )  # fmt: skip
    logged = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=logged)
    for name in tasks:
        tracker.save_results_samples(task_name=name, samples=logged[name])
    likelihoods = {
        (sample["doc"]["context"], *map(str.strip, sample["doc"]["choices"])): [
            float(likelihood) for likelihood, _ in sample["filtered_resps"]
        ]
        for name in tasks
        for sample in logged[name]
    }
    return results["results"], likelihoods


def check_same(pipeline, trunk, suite, folder) -> None:
    """Both runs agree on `acc` and `acc_norm`, and one table shows both."""
    samples = suite.samples()
    export(trunk, folder / "exported")
    first_id = pipeline.tokenizer.document_start_id
    found, likelihoods = theirs(folder, folder / "exported", samples, first_id)
    run_suite(suite, pipeline, folder / "run")
    run = read_run(folder / "run")
    assert len(likelihoods) == len(run.records) == len(samples)
    for record in run.records:
        options = record["sample"]["options"]
        wanted = likelihoods[(options[0][0], *(text.strip() for _, text in options))]
        assert [-nll for nll in record["option_nlls"]] == pytest.approx(wanted, abs=0.01)
    scores = {score.name: score for score in run.scores}
    sizes = {name: row["sample_len"] for name, row in found.items()}
    assert sum(sizes.values()) == len(samples)
    for ours, metric in (("accuracy_option", "acc"), ("accuracy_character", "acc_norm")):
        together = sum(row[f"{metric},none"] * sizes[name] for name, row in found.items())
        assert scores[ours].value == pytest.approx(together / len(samples), abs=5e-4)
    entries = read_entries([folder / "run", folder / "out"])
    shown = {(e.suite, e.score.name): e.score for e in entries}
    read = shown["mtgen_choice", "acc"]
    assert read.value == found["mtgen_choice"]["acc,none"]
    assert read.n_scored == sizes["mtgen_choice"]
    assert read.ci95
    assert read.ci95[0] <= read.value <= read.ci95[1]
    assert "|ci:" in read.signature
    assert {entry.model for entry in entries} == {run.manifest["model"], str(folder / "exported")}


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "0" if name.startswith("TOK") else "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))


def test_the_harness_scores_our_trunk_as_we_do(tiny_trunk, tmp_path, offline):
    pipeline = mtgen.load(tiny_trunk, precision="float32", progress=False)
    samples = CHOICE.samples()[::4]  # of all three categories
    suite = replace(CHOICE, read=lambda _: samples)
    check_same(pipeline, tiny_trunk, suite, tmp_path)


@pytest.mark.slow
def test_the_harness_scores_the_real_trunk_as_we_do(trunk_folder, real_float32, tmp_path, offline):
    check_same(real_float32, trunk_folder, CHOICE, tmp_path)


RESULTS = {
    "results": {
        "piqa": {"alias": "piqa", "acc,none": 0.6, "acc_stderr,none": 0.05, "sample_len": 96},
        "perplexing": {"word_perplexity,none": 20.5, "word_perplexity_stderr,none": "N/A"},
    },
    "n-samples": {"piqa": {"original": 1838, "effective": 96}},
    "higher_is_better": {"piqa": {"acc": True}, "perplexing": {"word_perplexity": False}},
    "versions": {"piqa": 1.0},
    "n-shot": {"piqa": 0},
    "config": {"model": "hf", "model_args": "pretrained=owner/name,dtype=float32"},
    "lm_eval_version": "0.4.13",
}


def test_without_samples_the_interval_is_of_the_standard_error(tmp_path):
    path = tmp_path / "results_2026-01-02T03-04-05.678.json"
    path.write_text(json.dumps(RESULTS), "utf-8")
    model, tasks = read_results(path)
    assert model == "owner/name"
    [acc] = tasks["piqa"]
    assert (acc.name, acc.value, acc.n_scored, acc.higher_is_better) == ("acc", 0.6, 96, True)
    assert acc.ci95 == pytest.approx((0.502, 0.698))
    assert acc.mde == pytest.approx(2.8016 * 2**0.5 * 0.05, rel=1e-4)
    [perplexity] = tasks["perplexing"]
    assert (perplexity.ci95, perplexity.higher_is_better) == (None, False)


def test_the_best_model_of_each_score_comes_first(tmp_path):
    for name, acc in (("a", 0.4), ("b", 0.7)):
        held = json.loads(json.dumps(RESULTS))
        held["model_name"] = name
        held["results"]["piqa"]["acc,none"] = acc
        held["results"]["perplexing"]["word_perplexity,none"] = acc
        (tmp_path / f"results_{name}.json").write_text(json.dumps(held), "utf-8")
    entries = read_entries([tmp_path])
    assert [(e.suite, e.model) for e in entries] == [
        ("piqa", "b"), ("piqa", "a"), ("perplexing", "a"), ("perplexing", "b"),
    ]  # fmt: skip


def test_what_is_no_result_is_named(tmp_path, shell):
    (tmp_path / "results_x.json").write_text('{"results": [1]}', "utf-8")
    with pytest.raises(RecordsError, match=r"no results file of lm-evaluation-harness"):
        read_entries([tmp_path])
    (tmp_path / "empty").mkdir()
    done = shell("-m", "evals", "table", tmp_path / "empty")
    assert done.returncode == 1
    assert "holds neither a run nor scores of lm-evaluation-harness" in done.stderr


@pytest.mark.slow
def test_the_table_works_from_the_shell(tmp_path, shell):
    (tmp_path / "results_x.json").write_text(json.dumps(RESULTS), "utf-8")
    done = shell("-m", "evals", "table", tmp_path / "results_x.json")
    assert done.returncode == 0, done.stderr
    assert "| piqa " in done.stdout
    assert "0.502 to 0.698" in done.stdout
    listed = json.loads(shell("-m", "evals", "table", tmp_path, "--json").stdout)["scores"]
    assert {"model", "suite", "name", "value", "ci95", "n_scored", "mde"} <= listed[0].keys()
