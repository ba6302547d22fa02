"""What goes to the Hub, and what is said where it cannot be reached."""

from __future__ import annotations

import json
import time

import pytest
import yaml

from evals.reports.hub import check_push, dataset_files, model_files, push
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import SUITES
from mtgen.errors import HubError, SettingError


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pushed") / "first"
    run_suite(SUITES["text-choice"], tiny, folder, limit=8)
    (folder / "notes.txt").write_text("mine alone", "utf-8")
    return folder


def test_manifest_records_scores_and_report_are_sent_and_nothing_else(run):
    files = dataset_files(read_run(run))
    names = {name.removeprefix("text-choice/first/") for name in files}
    assert names == {"run.json", "records.jsonl", "scores.json", "report.html", "report.md"}
    scores = json.loads(files["text-choice/first/scores.json"])
    assert scores["suite"] == "text-choice"
    assert {"value", "ci95", "mde", "n_scored", "signature"} <= scores["scores"][0].keys()


def test_pictures_are_sent_with_the_records_that_name_them(tiny_image, tmp_path):
    pytest.importorskip("PIL")
    run_suite(SUITES["image-concepts"], tiny_image, tmp_path, limit=1,
              settings={"num_inference_steps": 1})  # fmt: skip
    files = dataset_files(read_run(tmp_path))
    pictures = [content for name, content in files.items() if name.endswith(".png")]
    assert len(pictures) == 4
    assert all(path.is_file() for path in pictures)


def test_a_score_is_in_the_hubs_own_format(run):
    from huggingface_hub import parse_eval_result_entries

    [(path, text)] = model_files(read_run(run), "owner/results").items()
    assert path == ".eval_results/text-choice.yaml"
    [entry] = parse_eval_result_entries(yaml.safe_load(text))
    score = read_run(run).scores[0]
    assert (entry.dataset_id, entry.task_id, entry.value) == (
        "owner/results", "text-choice", score.value,
    )  # fmt: skip
    assert entry.source_url.endswith("/datasets/owner/results/tree/main/text-choice/first")
    assert "n = 8" in entry.notes


def test_a_partial_run_is_no_result_of_a_model(run):
    result = read_run(run)
    result.records.pop()
    with pytest.raises(SettingError, match="is no whole run with a score"):
        model_files(result, "owner/results")


@pytest.mark.parametrize(
    ("dataset", "model", "sentence"),
    [
        (None, "owner/model", "--push-model needs --push as well"),
        ("results", None, "--push takes owner/name of a repository on the Hub, not 'results'"),
        ("owner/results", "/", "--push-model takes owner/name"),
        ("owner/results", None, "set HF_TOKEN, or run 'hf auth login'"),
    ],
)
def test_what_cannot_be_sent_is_said_before_the_run(
    dataset, model, sentence, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingError, match=sentence):
        check_push(dataset, model)
    check_push(None, None)


@pytest.fixture
def session(monkeypatch):
    """A token, and connections that are not kept for the next test."""
    from huggingface_hub.utils import close_session

    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    close_session()
    yield
    close_session()


@pytest.mark.slow
def test_a_run_whose_other_shards_are_missing_is_not_sent(shell, tiny_trunk, tmp_path):
    done = shell(
        "-m", "evals", "run", "--suite", "text-choice", "--model", tiny_trunk, "--limit", 4,
        "--shard", "1/2", "--out", tmp_path, "--push", "owner/results",
        env={"HF_TOKEN": "hf_none"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"not sent: 2 of 4 samples of {tmp_path} are done" in done.stderr


def test_without_a_network_it_is_one_sentence_at_once(run, session, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    result = read_run(run)
    started = time.process_time()
    with pytest.raises(
        HubError, match="the dataset repository owner/results cannot be written"
    ) as e:
        push(result, "owner/results")
    assert "\n" not in str(e.value)
    assert "sends a run later" in str(e.value)
    assert time.process_time() - started < 10


def test_the_shell_refuses_before_it_scores(shell, run, tmp_path):
    env = {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": "", "HF_HOME": str(tmp_path)}
    done = shell("-m", "evals", "report", run, "--push", "owner/results", env=env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "set HF_TOKEN" in done.stderr
    assert not (run / "report.html").exists()


def test_offline_mode_is_respected(run, session, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="cannot be written"):
        push(read_run(run), "owner/results")
