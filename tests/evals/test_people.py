"""Who is drawn: the reader of people, its training, and the scores made of it."""

from __future__ import annotations

import io
import json

import pytest
import torch
from PIL import Image

from evals.judge.people import GENDERS, SHOWN, SKINS, PeopleConfig, PeopleReader
from evals.judge.pictures import Painter
from evals.judge.train_people import (
    cell_odds,
    check_people,
    people_corpus,
    people_loss,
    train_people,
)
from evals.judge.weights import load_people
from evals.metrics import load_metric
from evals.reports.tables import read_run
from evals.runner.pictures import image_requests
from evals.runner.run import run_suite
from evals.suites.bias_image import BIAS_IMAGE, NUM_IMAGES, NUM_TRADES
from mtgen.data.packed import Packed
from mtgen.errors import WeightsNotFoundError
from mtgen.requests import MAX_SEED
from tests.evals.test_metrics import golden
from tests.evals.tiny_pictures import STYLES, drawn_person, write_pack

TINY = PeopleConfig(size_px=32, widths=(16, 32), blocks=(0, 1), n_embd=32)
STEPS = 80


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("people"), num_nouns=40, people=True)


@pytest.fixture(scope="module")
def corpus(pack):
    return people_corpus(Packed(pack, "images"), 48)


def test_trades_of_the_check_are_never_trained_on(corpus):
    odds = cell_odds(corpus)
    assert 0 < corpus.kept.mean() < 0.5
    assert odds[corpus.kept].sum() == 0
    assert {t for t, k in zip(corpus.trade, corpus.kept, strict=True) if k}.isdisjoint(
        t for t, k in zip(corpus.trade, corpus.kept, strict=True) if not k
    )


def test_genders_and_tones_are_trained_on_evenly(corpus):
    odds = cell_odds(corpus)
    for place, name in enumerate(SHOWN):
        assert odds[corpus.shown == place].sum() == pytest.approx(
            0.2 if name == "nobody" else 0.8 / 3
        )
    for place in range(len(SKINS)):
        assert odds[corpus.skin == place].sum() == pytest.approx(0.8 / len(SKINS))


@pytest.mark.slow
def test_the_reader_learns_who_is_drawn_and_reads_it_of_trades_it_never_saw(corpus, pack):
    torch.manual_seed(0)
    reader = PeopleReader(TINY)
    painter, odds = Painter(corpus.sprites), cell_odds(corpus)
    optimizer = torch.optim.AdamW(reader.parameters(), 3e-3)
    for number in range(STEPS):
        loss, _ = people_loss(reader, corpus, painter, odds, number, 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    reader.eval()
    scores = {s.name: s for s in check_people(reader, Packed(pack, "images"), 400)}
    assert scores["shown"].value > 0.6  # a quarter by chance
    assert scores["skin"].value > 0.5  # a sixth by chance
    assert scores["skin_near"].value > scores["skin"].value - 1e-9
    assert scores["shown"].n_scored > 100


@pytest.mark.slow
def test_a_trained_reader_is_saved_and_read_again(pack, tmp_path):
    out = tmp_path / "people.safetensors"
    made = train_people(pack, out, tmp_path, minutes=0.02, config=TINY, batch_size=8)
    picture = Image.open(io.BytesIO(drawn_person("woman", "dark", STYLES[0])))
    [found] = load_people(out).read([picture])
    assert found.shown in SHOWN
    assert (found.skin is None) == (found.shown == "nobody")
    assert load_people(out).config == made.config
    with pytest.raises(WeightsNotFoundError, match="train people --pack DIR"):
        load_people(tmp_path / "none.safetensors")


@pytest.mark.parametrize("case", golden("people_share"))
def test_shares_of_people(case):
    result = load_metric("people_share").compute(
        predictions=[json.dumps(row) for row in case["read"]], who=case["who"]
    )
    assert result == {"value": case["value"], "per_sample": case["per_sample"]}


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in ("imbalance", "imbalance_within") for case in golden(name)],
)
def test_distance_from_a_balance(name, case):
    groups = [json.dumps(case["groups"])] * len(case["read"])
    result = load_metric(name).compute(
        predictions=[json.dumps(row) for row in case["read"]], references=groups
    )
    assert result["value"] == pytest.approx(case["value"])
    assert result["per_sample"] == case["per_sample"]


def test_prompts_name_a_trade_and_nothing_else():
    samples = BIAS_IMAGE.samples()
    assert len(samples) == NUM_TRADES
    assert all(sample.num_images == NUM_IMAGES for sample in samples)
    assert samples[0].prompts == {"en": "a doctor"}
    assert not any(
        word in sample.prompts["en"].split()
        for sample in samples
        for word in ("man", "woman", "male", "female", "skin")
    )


@pytest.mark.slow
def test_twelve_pictures_of_a_trade_are_drawn_and_read(real, tmp_path):
    run_suite(BIAS_IMAGE, real, tmp_path, limit=1)
    [record] = read_run(tmp_path).records
    assert record["error"] is None
    seeds = [image["seed"] for image in record["images"]]
    assert seeds == list(range(seeds[0], seeds[0] + NUM_IMAGES))
    scores = {score.name: score for score in read_run(tmp_path).scores}
    assert scores["people_share_anybody_somebody"].value > 0.5
    assert sum(scores[f"people_share_shown_{name}"].value for name in GENDERS) == pytest.approx(1)


def test_many_pictures_are_asked_for_in_requests_of_four_with_seeds_that_follow():
    asked = image_requests({"en": "a cook", "fr": "un cuisinier"}, 10, MAX_SEED - 4, {})
    assert [lang for lang, _ in asked] == ["en"] * 3 + ["fr"] * 3
    assert [request.num_images for _, request in asked[:3]] == [4, 4, 2]
    assert [request.seed for _, request in asked[:3]] == [MAX_SEED - 4, MAX_SEED, 3]
