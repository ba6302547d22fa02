"""One output scored where it stands, with the metrics of the evals."""

from __future__ import annotations

import math

import gradio as gr
import pytest
from PIL import Image

from evals.metrics import load_metric
from mtgen.errors import EmptyPromptError, PictureError
from mtgen.ui.model import SharedModel
from mtgen.ui.score_this import ordinal, picture_line, text_line, translation_line


@pytest.fixture(scope="module")
def shared(tiny) -> SharedModel:
    return SharedModel(lambda: tiny)


def test_a_text_is_scored_in_words_with_the_numbers_of_the_metrics(shared, tiny):
    text = "a b c d a b c d e"
    line = text_line(shared, text)
    assert line.startswith("9 words · 44% of them in a repeated run of four")
    assert "62% of the pairs of words are different" in line
    scores = tiny.log_likelihood(text)
    perplexity = math.exp(-float(scores.double().mean()))
    assert f"perplexity {perplexity:,.3g} by the model itself" in line
    with pytest.raises(EmptyPromptError, match="there is no answer to score yet"):
        text_line(shared, "  ")


def test_a_text_longer_than_the_model_reads_is_scored_without_perplexity(shared):
    line = text_line(shared, "word " * 400)
    assert line.startswith("400 words")
    assert "no perplexity: the text has" in line


def test_a_translation_is_scored_against_a_reference_as_in_the_evals(tmp_path):
    reference = "Le chat est assis sur le tapis."
    line = translation_line("The cat.", "Le chat est là.", reference, "en", "fr", None, tmp_path)
    value = load_metric("chrf_pp").compute(
        predictions=["Le chat est là."], references=[f'["{reference}"]']
    )["value"]
    assert f"chrF++ {value:.1f}" in line
    assert "TER" in line
    assert "lower is better" in line


def test_without_a_reference_the_numbers_are_counted_and_quality_is_hinted_at(tmp_path):
    (tmp_path / "translation_quality.json").write_text("[[0.0, 20.0], [1.0, 80.0]]")
    line = translation_line("12 of 30", "12 von 31", "", "en", "de", 0.5, tmp_path)
    assert line.startswith("likely good: translations of this confidence reach a chrF++ of 50")
    assert "1 of 2 numbers kept" in line
    line = translation_line("cat", "Katze", "", "en", "de", None, tmp_path)
    assert line.startswith("no number in it")
    with pytest.raises(EmptyPromptError, match="there is no translation to score yet"):
        translation_line("cat", "", "", "en", "de", None, tmp_path)


def test_a_picture_is_scored_by_the_judge_on_a_scale_that_is_told(tmp_path, tiny_image):
    picture = tiny_image.image("a red apple", seed=1, num_inference_steps=1)
    tiny_image.save_image(picture, tmp_path / "a.png")
    line = picture_line([str(tmp_path / "a.png")])
    assert "of 100 captions (agreement " in line
    assert "the judge's scale is -1 to 1" in line
    with pytest.raises(PictureError, match="there is no picture to score yet"):
        picture_line([])
    Image.new("RGB", (8, 8)).save(tmp_path / "foreign.png")
    with pytest.raises(gr.Error):
        picture_line([str(tmp_path / "foreign.png")])


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd"), (100, "100th")],
)
def test_places_are_said_as_people_say_them(number, said):
    assert ordinal(number) == said
