"""The suites of marks: what is asked, what is read, and that a mark is found and nothing else."""

from __future__ import annotations

import json

import pytest

import mtgen
from evals import picture_marks, text_marks
from evals.metrics import load_metric
from evals.models.causal import Causal
from evals.reports.board import found_words, requests_of, shown_sample
from evals.reports.tables import read_run
from evals.runner.ask import Asking, ask
from evals.runner.run import run_suite
from evals.suites import GROUPS, SUITES
from evals.suites.marks import CHANGES, EDITS, MARKS, READERS, SCHEMES, SENTENCES
from mtgen.marks.keys import PUBLIC
from mtgen.requests import UNMARKED, ImageRequest, TextRequest, TranslationRequest
from tests.conftest import save_tiny, save_tiny_translation_expert
from tests.evals.test_metrics import golden


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A pipeline of random weights with room for long texts."""
    folder = tmp_path_factory.mktemp("writer")
    save_tiny(folder, max_position_embeddings=2048)
    save_tiny_translation_expert(folder, folder)
    return mtgen.load(folder, weights=folder, keys=PUBLIC, progress=False)


def scores(run) -> dict[str, float | None]:
    return {score.name: score.value for score in run.scores}


def test_names_in_the_suites_are_those_of_what_is_done():
    assert tuple(text_marks.EDITS) == EDITS
    assert tuple(picture_marks.CHANGES) == CHANGES
    assert len(set(text_marks.prompts(1000))) == 200
    assert GROUPS["marks"] == MARKS
    for suite in MARKS:
        assert {kind.metric for kind in suite.metrics} <= {
            "marks_found", "payload_bits", "perplexity", "chrf_pp_loss"
        }  # fmt: skip


def test_every_everyday_sentence_is_translated_once_in_each_direction():
    samples = [s for s in SUITES["marks-translation"].samples() if s.variant == "marked"]
    said = [(s.source, s.target, sentence) for s in samples for sentence in s.sentences]
    assert len(set(said)) == len(said) == 6 * 300
    assert {s.category for s in samples} == {f"{count} sentences" for count in SENTENCES}


@pytest.mark.parametrize("case", golden("marks_found"), ids=lambda c: str(c["options"]))
def test_marks_found(case):
    given = [json.dumps(values) for values in case["p_values"]]
    result = load_metric("marks_found").compute(predictions=given, **case["options"])
    assert result["per_sample"] == case["per_sample"]


def test_payload_bits():
    [case] = golden("payload_bits")
    result = load_metric("payload_bits").compute(
        predictions=[json.dumps(bits) for bits in case["bits"]],
        references=[json.dumps(bits) for bits in case["written"]],
    )
    assert result == {"value": 0.5, "per_sample": case["per_sample"]}


@pytest.mark.slow
def test_every_scheme_is_found_in_its_texts_and_costs_are_there(writer, tmp_path):
    run_suite(SUITES["marks-text"], writer, tmp_path, limit=4)
    run = read_run(tmp_path)
    assert {r["sample"]["mark"] for r in run.records} == {UNMARKED, *SCHEMES}
    found = scores(run)
    # a model of random weights has all the choice there is, but its bytes are read as other
    # tokens than it wrote, which the contexts of five tokens of SynthID do not survive
    assert found["marks_found_gumbel_200 tokens, key"] == 1.0
    assert found["marks_found_kgw_200 tokens, key"] == 1.0
    assert found["marks_found_synthid_200 tokens, key"] is not None
    assert found["marks_found_gumbel_25 tokens, prompt"] is not None
    assert found[f"perplexity_{UNMARKED}"] > 1
    plain = [r for r in run.records if r["sample"]["mark"] == UNMARKED]
    assert all(r["p_values"] == {} and r["nll"] > 0 for r in plain)


def test_edits_are_read_one_by_one(writer, tmp_path):
    run_suite(SUITES["marks-edits"], writer, tmp_path, limit=1)
    run = read_run(tmp_path)
    [record] = run.records
    read = {name.rpartition(", ")[0] for name in record["p_values"]}
    assert set(EDITS[:5]) <= read <= set(EDITS)  # a tiny model writes what it refuses to read
    assert {f"none, {reader}" for reader in READERS} <= set(record["p_values"])
    assert record["p_values"]["none, key"][0] < 1e-5
    assert record["p_values"]["both, key"][0] > record["p_values"]["none, key"][0]


@pytest.mark.slow
def test_texts_of_people_are_found_as_often_as_is_said(writer, tmp_path):
    run_suite(SUITES["marks-people"], writer, tmp_path)
    run = read_run(tmp_path)
    assert len(run.records) == 40
    assert all(len(v) == 100 for r in run.records for v in r["p_values"].values())
    for score in run.scores:
        level = 0.01 if "level" not in score.signature else float(
            score.signature.partition("level:")[2].partition("|")[0]
        )  # fmt: skip
        assert score.value == pytest.approx(level, abs=4 * (level * (1 - level) / 4000) ** 0.5)


def test_translations_are_read_by_the_key_and_beside_their_originals(writer, tmp_path):
    run_suite(SUITES["marks-translation"], writer, tmp_path, limit=2)
    plain, marked = read_run(tmp_path).records
    assert plain["p_values"] == {}
    assert set(marked["p_values"]) == {"key", "original"}
    assert plain["output"] != marked["output"]
    assert plain["sample"]["sentences"] == marked["sample"]["sentences"]


def test_pictures_are_read_after_each_change(tiny_image, tmp_path):
    tiny_image._keys = PUBLIC
    run_suite(SUITES["marks-picture"], tiny_image, tmp_path, limit=1)
    run = read_run(tmp_path)
    [record] = run.records
    assert set(record["bits"]) == set(CHANGES)
    assert len(record["written_bits"]) == 48
    assert {len(bits) for bits in record["bits"].values()} <= {0, 48}
    assert all(0 < p <= 1 for [p] in record["p_values"].values())
    assert (tmp_path / record["images"][0]["file"]).is_file()
    assert len(scores(run)) == 4 * len(CHANGES)
    assert None not in scores(run).values()


@pytest.mark.slow
def test_a_sample_can_be_asked_again_in_its_tab(writer, tmp_path):
    for name, kind in (("marks-text", TextRequest), ("marks-translation", TranslationRequest)):
        run_suite(SUITES[name], writer, tmp_path / name, limit=2)
        run = read_run(tmp_path / name)
        record = run.records[1]
        [request] = requests_of(run, record)
        assert isinstance(request, kind)
        assert request.mark == record["sample"]["mark"] != UNMARKED
        shown = shown_sample(run, record, 1.0)
        assert shown.asked
        assert "key: p = " in (shown.output or "")
    again = writer.text(requests_of(read_run(tmp_path / "marks-text"), record_of(tmp_path))[0])
    assert again.text == record_of(tmp_path)["output"]


def record_of(folder):
    return read_run(folder / "marks-text").records[1]


def test_a_picture_can_be_drawn_again_in_its_tab(tiny_image, tmp_path):
    [sample] = SUITES["marks-picture"].samples()[:1]
    record = {"kind": "marked-picture", "sample": {"prompt": sample.prompt}, "seed": 3}
    run = type("Run", (), {"manifest": {}})
    assert requests_of(run, record) == [ImageRequest(prompt=sample.prompt, seed=3)]


def test_what_was_read_is_said_in_words():
    assert found_words({"none, key": [0.00213], "text, 25 tokens": [0.5, 0.04]}) == (
        "none, key: p = 0.0021\ntext, 25 tokens: 2 keys, p = 0.04 at least"
    )


def test_a_model_of_others_is_not_asked_for_marks(tmp_path):
    model = Causal.__new__(Causal)
    model.model, model.kinds = "theirs", frozenset({"text"})
    [sample] = SUITES["marks-text"].samples()[:1]
    record = ask(model, sample, Asking(folder=tmp_path))
    assert record.error == "theirs does not mark what it makes"
    assert not record.transient
