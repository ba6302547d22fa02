"""Verification: what is found, said in words, and refused in one sentence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import mtgen
from mtgen.errors import BadRequestError
from mtgen.marks.keys import KeyRing, MarkKey
from mtgen.marks.verify import MAX_BYTES, odds
from mtgen.model.sampling import seeded
from mtgen.png import PictureSettings, to_png
from mtgen.requests import ImageRequest, TextRequest
from tests.conftest import ROOT

OWN, FORMER, FOREIGN = (
    MarkKey(bytes([n]) * 32, host=host) for n, host in ((1, ""), (2, ""), (3, "another host"))
)
STORY = "Write a short story about a lighthouse keeper and the sea."


@pytest.fixture(scope="module")
def pipeline(trunk_folder):
    return mtgen.load(keys=KeyRing(OWN, (FORMER, FOREIGN)), progress=False)


@pytest.fixture(scope="module")
def story(pipeline):
    return pipeline.text(STORY, temperature=1.0, seed=5, max_new_tokens=150)


@pytest.mark.slow
def test_what_the_model_writes_is_found_to_be_its_own(pipeline, story):
    assert story.marks == (f"gumbel:{OWN.fingerprint}",)
    found = pipeline.verify(story.text)
    assert found.verdict == "marked"
    assert found.p_value < 1e-5
    assert found.text_tests[0].key == OWN.fingerprint
    assert "almost certainly" in found.summary


@pytest.mark.slow
def test_the_model_itself_finds_more(pipeline):
    texts = [
        pipeline.text(STORY, temperature=0.6, seed=seed, max_new_tokens=60).text
        for seed in range(4)
    ]
    plain = [pipeline.verify(text).text_tests[0] for text in texts]
    asked = [pipeline.verify(text, thorough=True) for text in texts]
    own = [
        next(t for t in found.text_tests if (t.mark, t.key) == ("text", OWN.fingerprint))
        for found in asked
    ]
    assert all(test.p_model is None for test in plain)
    assert np.mean([np.log(t.p_model) - np.log(t.p_whole) for t in own]) < -1


@pytest.mark.slow
def test_with_what_was_asked_the_model_finds_more_still(pipeline):
    texts = [
        pipeline.text(STORY, temperature=0.8, seed=seed, max_new_tokens=25).text
        for seed in range(8)
    ]
    beside = [pipeline.verify(text, prompt=STORY) for text in texts]
    gains = [
        np.log(found.p_value) - np.log(pipeline.verify(text, thorough=True).p_value)
        for found, text in zip(beside, texts, strict=True)
    ]
    assert np.mean(gains) < -2
    assert sum(found.verdict == "marked" for found in beside) >= 6
    with pytest.raises(BadRequestError, match="prompt has .* tokens"):
        pipeline.verify(texts[0], prompt="so " * 5000)


@pytest.mark.slow
def test_a_former_key_and_another_hosts_are_named(pipeline):
    for key, words in ((FORMER, f"our key {FORMER.fingerprint}"), (FOREIGN, "another host's key")):
        pipeline_of = mtgen.load(keys=KeyRing(key), progress=False)
        text = pipeline_of.text(STORY, temperature=1.0, seed=2, max_new_tokens=80).text
        found = pipeline.verify(text)
        assert found.verdict == "marked"
        assert words in found.summary


def test_the_marked_part_of_a_longer_text_is_shown(pipeline, story):
    human = (ROOT / "LICENSE").read_text("utf-8")[:6000]
    text = human[:3000] + story.text + human[3000:]
    found = pipeline.verify(text)
    assert found.verdict == "marked"
    [part] = found.text_tests[0].parts
    assert part.start == pytest.approx(3000, abs=250)
    assert part.end == pytest.approx(3000 + len(story.text), abs=250)
    assert "% of it" in found.summary


def test_a_mark_survives_typing_off_and_small_edits(pipeline, story):
    words = story.text.split()
    rng = np.random.default_rng(0)
    kept = " ".join(word for word in words if rng.random() > 0.15)
    assert pipeline.verify(kept).verdict == "marked"
    assert pipeline.verify("  " + story.text.replace("\n", " ") + " ").verdict == "marked"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("The cat sat on the mat.", "too little"),
        ("同じ言葉を何度も繰り返すだけの文章です。" * 3, "unmarked"),
        ("word " * 400, "too little"),
        ((ROOT / "LICENSE").read_text("utf-8"), "unmarked"),
    ],
)
def test_what_people_write_is_not_called_marked(pipeline, text, verdict):
    assert pipeline.verify(text).verdict == verdict


def test_nothing_is_marked_at_temperature_0_or_when_marks_are_off(pipeline):
    greedy = pipeline.text(STORY, temperature=0, max_new_tokens=60)
    assert greedy.marks == ()
    assert "not marked: no choice was left" in greedy.notes[0]
    off = [
        pipeline.text(STORY, temperature=1.0, seed=seed, max_new_tokens=60, mark="none")
        for seed in range(3)
    ]
    assert all(made.marks == made.notes == () for made in off)
    verdicts = [pipeline.verify(made.text).verdict for made in off]
    assert verdicts.count("unmarked") >= 2, "one of a hundred may look marked by chance"
    with pytest.raises(BadRequestError, match="no mark named 'gumble'"):
        TextRequest(prompt="x", mark="gumble")


@pytest.mark.slow
def test_the_same_seed_and_key_give_the_same_text(pipeline, story):
    again = pipeline.text(STORY, temperature=1.0, seed=5, max_new_tokens=150)
    other = pipeline.text(STORY, temperature=1.0, seed=6, max_new_tokens=150)
    assert again.text == story.text != other.text


def test_marks_are_claimed_only_where_there_are_some(pipeline):
    narrow = pipeline.text(STORY, temperature=1.0, top_p=0.001, max_new_tokens=20)
    assert narrow.marks == ()
    assert "not marked" in narrow.notes[0]
    short = pipeline.text(STORY, temperature=1.0, max_new_tokens=1)
    assert short.marks == ()
    greedy = pipeline.text(STORY, temperature=0, max_new_tokens=12, mark="kgw")
    assert greedy.marks == (f"kgw:{OWN.fingerprint}",)
    assert pipeline.translate("12345", source="en", target="fr").marks == ()
    said = pipeline.translate("Good morning.", source="en", target="fr")
    assert said.marks == (f"tilt:{OWN.fingerprint}",)
    assert pipeline.translate("Hi.", source="en", target="fr", mark="none").marks == ()


def test_what_anyone_can_write_is_a_claim_and_no_proof(pipeline):
    request = ImageRequest(prompt="three red apples", seed=1)
    forged = to_png(Image.new("RGB", (256, 256)), PictureSettings(request=request, model="m"))
    found = pipeline.verify(forged, name="x.png")
    assert found.verdict == "claimed"
    assert "anyone could have written" in found.summary


def test_a_large_sheet_is_read_back(pipeline):
    sheet = pipeline.mark_image(Image.effect_noise((1414, 1152), 3).convert("RGB"))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    assert pipeline.verify(buffer.getvalue(), name="sheet.png").verdict == "marked"


def test_a_picture_with_another_behind_it_is_looked_at(pipeline):
    buffer = io.BytesIO()
    Image.new("RGB", (80, 80)).save(
        buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (80, 80), "red")]
    )
    assert pipeline.verify(buffer.getvalue(), name="phone.jpg").verdict == "unmarked"


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


def gif() -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def cut_jpeg() -> bytes:
    pixels = (torch_noise(64) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()[:900]


def torch_noise(side: int) -> np.ndarray:
    import torch

    return torch.rand(side, side, 3, generator=seeded(0)).numpy()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("large.png", lambda: png(10_000, 10_000), "100 megapixels and up to 25"),
        ("bomb.png", lambda: png(20_000, 20_000), "far more pixels"),
        ("cut.jpg", cut_jpeg, "cut off or damaged"),
        ("moving.gif", gif, "moving picture"),
        ("drawing.svg", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "drawing in SVG"),
        ("noise.bin", lambda: bytes(range(256)), "neither a picture nor text"),
        ("empty.txt", lambda: b"", "empty"),
        ("empty.png", lambda: b"\x89PNG\r\n\x1a\n", "no picture that can be read"),
        ("long.txt", lambda: b"word " * 300_000, "up to 1,000,000 are looked through"),
    ],
)
@pytest.mark.slow
def test_what_cannot_be_looked_at_is_refused_in_one_sentence(pipeline, name, content, reason):
    with pytest.raises(BadRequestError, match=reason) as caught:
        pipeline.verify(content(), name=name)
    assert "\n" not in str(caught.value)


def test_a_file_of_50_mb_is_not_even_read(pipeline, tmp_path):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    with pytest.raises(BadRequestError, match=f"50 MB and up to {MAX_BYTES // 1_000_000} MB"):
        pipeline.verify(path)


def test_p_values_in_words():
    assert odds(0.001) == "1 in 1,000"
    assert odds(1e-12) == "1 in 1,000,000,000 or fewer"
