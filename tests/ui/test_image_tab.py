"""The Image tab without a browser: the /image endpoint, its errors, the parts of the page."""

from __future__ import annotations

import dataclasses
import shutil
import threading
import time
from pathlib import Path

import gradio as gr
import httpx
import numpy as np
import psutil
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from safetensors.numpy import save_file

from mtgen.data.images.sources import EMOJI_SETS
from mtgen.errors import CacheWriteError, SettingError, UnknownNameError
from mtgen.model.files import IMAGE_EXPERT, WEIGHTS, trained_styles
from mtgen.png import PictureSettings, read_settings
from mtgen.requests import MAX_SEED, ImageRequest
from mtgen.ui.image import EXAMPLES
from mtgen.ui.image_form import (
    ANY,
    STYLE_NAMES,
    Form,
    compared,
    offered_styles,
    settings_html,
)
from mtgen.ui.known import known_things, search
from mtgen.ui.model import SharedModel
from mtgen.ui.pictures import Comparison, draw, draw_sheet, parse_scales, sheet
from tests.ui.conftest import Server

FORM = Form("a dog", "", ANY, 256, 4, 3.0, 1.0, "", 1)


@pytest.fixture(scope="module")
def client(image_server) -> Client:
    return Client(image_server.url, verbose=False)


@pytest.fixture
def model(tiny_image) -> SharedModel:
    return SharedModel(lambda: tiny_image)


def test_the_endpoint_gives_pictures_with_their_settings_and_repeats_them(client):
    first = client.predict(
        "three red apples", style="noto", num_images=2, num_inference_steps=4, api_name="/image"
    )
    assert first["request"]["style"] == "noto"
    for path, seed in zip(first["images"], first["seeds"], strict=True):
        request = read_settings(path).request
        assert (request.seed, request.num_images) == (seed, 1)
        again = client.predict(
            "three red apples", style="noto", num_inference_steps=4, seed=seed, api_name="/image"
        )
        assert Image.open(again["images"][0]).tobytes() == Image.open(path).tobytes()


def test_the_endpoint_tells_how_far_it_is(client):
    job = client.submit("a dog", num_images=4, num_inference_steps=64, api_name="/image")
    shares = [update["progress"] for update in job if "progress" in update]
    assert len(shares) > 1
    assert shares == sorted(shares)
    assert 0 < shares[0] < 1


def test_a_cancelled_call_frees_the_cores(image_server, client):
    job = client.submit("a dog", num_images=4, num_inference_steps=64, api_name="/image")
    next(iter(job))
    job.cancel()
    process = psutil.Process(image_server.process.pid)
    deadline = time.monotonic() + 10
    while process.cpu_percent(0.5) > 25:
        assert time.monotonic() < deadline, "still drawing 10 s after the cancellation"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": "apple" * 1000}, "the prompt has 5,000 characters and a picture is described"),
        ({"prompt": "a\0b"}, "control character"),
        ({"prompt": "x", "negative_prompt": "y" * 501}, "the negative prompt has 501 characters"),
        ({"prompt": "x", "style": "oil"}, "no style named 'oil'"),
        ({"prompt": "x", "size_px": 512}, "size_px must be 128 or 256, got 512"),
        ({"prompt": "x", "num_inference_steps": 0}, "num_inference_steps must be a whole number"),
        ({"prompt": "x", "num_inference_steps": 10_000}, "from 1 to 64, got 10000"),
        ({"prompt": "x", "guidance_scale": 21}, "guidance_scale must be a number from 0 to 20"),
        ({"prompt": "x", "temperature": -1}, "temperature must be a number from 0 to 2"),
        ({"prompt": "x", "num_images": 5}, "num_images must be a whole number from 1 to 4"),
        ({"prompt": "x", "seed": 2**32}, "seed must be a whole number from 0"),
    ],
)
def test_bad_input_is_one_sentence_and_the_server_lives_on(client, arguments, sentence):
    with pytest.raises(AppError, match=sentence):
        client.predict(**arguments, api_name="/image")
    assert client.predict("x", num_inference_steps=1, api_name="/image")["images"]


def test_guidance_that_is_no_number_is_refused_past_the_client_too(image_server):
    body = '{"data": ["x", "", null, 256, 4, NaN, 1, 1, null], "session_hash": "nan"}'
    url = image_server.url + "gradio_api/call/image"
    call = httpx.post(url, content=body, headers={"content-type": "application/json"})
    if call.status_code == 200:
        events = httpx.get(f"{url}/{call.json()['event_id']}", timeout=30)
        assert "guidance_scale must be a number from 0 to 20, got nan" in events.text
    else:
        assert call.status_code in (400, 422)
    assert httpx.get(image_server.url).status_code == 200


def test_the_endpoint_is_documented(client):
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert "/image" in endpoints
    parameters = endpoints["/image"]["parameters"]
    assert [p["parameter_name"] for p in parameters][:3] == ["prompt", "negative_prompt", "style"]
    assert endpoints["/image"]["description"].startswith("Draws a prompt with the shared model")


@pytest.mark.slow
def test_truncated_weights_are_one_sentence_and_text_goes_on(
    tiny_image_trunk, tiny_weights, tmp_path
):
    weights = shutil.copytree(tiny_weights, tmp_path / "weights")
    path = weights / "image_expert.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    server = Server(
        "--trunk", str(tiny_image_trunk), "--weights", str(weights), log=tmp_path / "log.txt",
        env={"GRADIO_TEMP_DIR": str(tmp_path / "files"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        server.wait()
        client = Client(server.url, verbose=False)
        for _ in range(2):
            with pytest.raises(AppError, match="are damaged or of another kind"):
                client.predict("x", num_inference_steps=1, api_name="/image")
        assert client.predict("x", max_new_tokens=2, api_name="/text")["seed"] >= 0
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text()


def test_a_disk_that_cannot_be_written_is_one_sentence(model, tmp_path):
    (tmp_path / "files").touch()  # a file where the folder for pictures should be
    work = draw(model, FORM.request(), tmp_path / "files")
    with pytest.raises(CacheWriteError, match=r"cannot write to .*; the server needs room there"):
        list(work)


def test_the_form_asks_for_what_it_shows_and_is_filled_by_settings():
    values = Form("a dog", " cats ", "noto", 128, 5.0, 2, 0.5, " 7 ", 2)
    request = values.request()
    assert request == ImageRequest(
        prompt="a dog", negative_prompt="cats", style="noto", size_px=128, num_inference_steps=5,
        guidance_scale=2, temperature=0.5, seed=7, num_images=2,
    )  # fmt: skip
    assert (
        Form.filled(PictureSettings(request=request, model="m"), STYLE_NAMES).request() == request
    )
    assert FORM.request().seed is None


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"seed": "abc"}, "seed must be a whole number from 0 to 4294967295, got 'abc'; empty"),
        ({"seed": "1.5"}, "got '1.5'; empty draws one"),
        ({"seed": "-1"}, "seed must be a whole number from 0"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"prompt": ""}, "the prompt is empty"),
    ],
)
def test_a_form_that_cannot_be_drawn_is_one_sentence(fields, sentence):
    with pytest.raises(gr.Error, match=sentence):
        FORM._replace(**fields).request()


def test_settings_on_the_page_are_escaped():
    request = ImageRequest(prompt="<script>alert(1)</script>", seed=1)
    table = settings_html(PictureSettings(request=request, model="<b>", finish_reason="cancelled"))
    assert "<script>" not in table
    assert "<b>" not in table
    assert "half drawn" in table


def test_the_page_names_every_style_and_offers_those_that_the_weights_have_learnt(tmp_path):
    assert set(STYLE_NAMES) == {ANY, *EMOJI_SETS}
    assert set(offered_styles(WEIGHTS)) == {ANY, *(trained_styles() or EMOJI_SETS)}
    path = tmp_path / IMAGE_EXPERT
    assert trained_styles(path) == ()
    assert set(offered_styles(tmp_path)) == {ANY, *EMOJI_SETS}
    save_file({"x": np.zeros(1)}, path, {"styles": '["noto", "twemoji"]'})
    assert trained_styles(path) == ("noto", "twemoji")
    assert set(offered_styles(tmp_path)) == {ANY, "noto", "twemoji"}


def test_a_style_that_the_weights_have_not_learnt_is_named(tiny_image, tmp_path, monkeypatch):
    tiny_image.painters()
    save_file({"x": np.zeros(1)}, tmp_path / "image_expert.safetensors", {"styles": '["noto"]'})
    monkeypatch.setattr(tiny_image, "weights", tmp_path)
    with pytest.raises(UnknownNameError, match="no style that these weights have learnt named"):
        tiny_image.image("a dog", style="openmoji", num_inference_steps=1)


@pytest.mark.parametrize(
    ("text", "scales"), [("1.5, 3, 6", (1.5, 3, 6)), ("3 3;4", (3, 4)), ("0", (0,))]
)
def test_guidance_values_are_read(text, scales):
    assert parse_scales(text) == scales


@pytest.mark.parametrize("text", ["", " ,", "many", "1,5x"])
def test_guidance_values_that_are_none_are_one_sentence(text):
    with pytest.raises(SettingError, match="guidance values must be numbers such as"):
        parse_scales(text)


@pytest.mark.parametrize(
    ("num_seeds", "scales", "sentence"),
    [
        (5, "3", "compare 1 to 4 seeds, got 5"),
        (0, "3", "compare 1 to 4 seeds, got 0"),
        (1, "1 2 3 4 5 6", "compare 1 to 5 guidance values, got 6"),
        (1, "nan", "guidance_scale must be a number from 0 to 20, got nan"),
        (1.5, "3", "seeds must be a whole number, got 1.5"),
    ],
)
def test_a_comparison_that_cannot_be_drawn_is_one_sentence(num_seeds, scales, sentence):
    with pytest.raises(gr.Error, match=sentence):
        compared(FORM.request(), num_seeds, scales)


def test_a_comparison_goes_on_at_seed_0_after_the_last():
    comparison = compared(FORM._replace(seed=str(MAX_SEED)).request(), 2, "3")
    assert comparison.seeds == (MAX_SEED, 0)


def test_a_sheet_holds_each_picture_as_it_is_drawn_alone(model, tiny_image, tmp_path):
    base = ImageRequest(prompt="ein grüner Apfel", size_px=128, num_inference_steps=2, seed=3)
    comparison = Comparison(request=base, seeds=(3, 4), guidance_scales=(1.0, 5.0))
    *_, drawn = draw_sheet(model, comparison, tmp_path, threading.Event())
    [(path, _)] = drawn.files
    images = [
        tiny_image.image(dataclasses.replace(request, mark="none")).images[0]
        for request in comparison.requests
    ]
    whole = tiny_image.mark_image(sheet(comparison, images))  # as one picture, like all others
    assert Image.open(path).tobytes() == whole.tobytes()
    assert tiny_image.verify(Path(path)).picture_tests[0].p_value < 1e-6
    assert read_settings(path).seeds == (3, 4)
    assert read_settings(path).guidance_scales == (1.0, 5.0)
    assert len({image.tobytes() for image in images}) == 4


def test_a_stopped_sheet_holds_what_there_is(model, tmp_path):
    base = ImageRequest(prompt="x", size_px=128, num_inference_steps=64, seed=3)
    comparison = Comparison(request=base, seeds=(3, 4), guidance_scales=(1.0, 5.0))
    stop = threading.Event()
    work = draw_sheet(model, comparison, tmp_path, stop)
    next(work)
    stop.set()
    *_, drawn = work
    assert "stopped in picture 1 of 4" in drawn.line
    assert read_settings(drawn.files[0][0]).finish_reason == "cancelled"


def test_known_things_are_found_in_any_language_and_without_accents():
    assert 1_900 < len(known_things()) == len({thing.emoji for thing in known_things()})
    for query in ("Äpfel", "apfel", "pomme", "manzanas", " APPLE "):
        assert any(thing.words["en"] == "apple" for thing, _ in search(query)[:3]), query
    thing, word = search("hund")[0]
    assert (thing.emoji, thing.label, word) == ("🐕", "🐕 dog · chien · Hund · perro", "Hund")
    assert search("médecin")[0][0].words["de"] == "Arzt"
    assert search("drapeau france")[0][0].emoji == "🇫🇷"
    assert search("qwertz") == []


def test_every_example_names_something_that_the_model_knows():
    forms = {form for thing in known_things() for form, _ in thing.forms}
    for text in EXAMPLES:
        words = text.casefold().replace("'", " ").replace(",", "").split()
        assert any(form.removesuffix("s") in forms or form in forms for form in words), text
