"""The Verify tab in a real browser on the real model, and its endpoint."""

from __future__ import annotations

import re

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.conftest import ROOT

STORY = "Write a short story about a lighthouse keeper."
ENGLISH = ["The dog sleeps under the table.", "The children are playing in the garden."]
FRENCH = ["Le chien dort sous la table.", "Les enfants jouent dans le jardin."]


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Client(server.url, verbose=False)


@pytest.fixture(scope="module")
def story(client) -> str:
    settings = {"temperature": 1.0, "seed": 3, "max_new_tokens": 120}
    return client.predict(STORY, **settings, api_name="/text")["text"]


@pytest.fixture(scope="module")
def picture(client, tmp_path_factory) -> str:
    made = client.predict("three red apples", seed=1, num_inference_steps=4, api_name="/image")
    return made["images"][0]


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    page.get_by_role("tab", name="Verify").click()
    page.wait_for_selector("#verify-text textarea")
    yield page
    context.close()
    assert errors == []


def verdict(page: Page) -> str:
    return page.locator("#verify-result .verdict").inner_text()


@pytest.mark.browser
@pytest.mark.slow
def test_a_marked_part_is_shown_in_a_longer_text(page, story):
    human = (ROOT / "LICENSE").read_text("utf-8")[:1500]
    page.fill("#verify-text textarea", f"{human}\n\n{story}\n\n<b>{human}</b>")
    page.click("#verify-go")
    expect(page.locator("#verify-result .verdict b")).to_have_text("Marked")
    assert "our key" in verdict(page)
    marked = page.locator("#verify-result mark").inner_text()
    assert story[60:100].strip() in marked
    assert len(marked) < len(story) + 600
    assert page.locator("#verify-result .looked-at b").count() == 0  # shown, not obeyed


@pytest.mark.browser
def test_keys_alone_verify_and_short_texts_are_too_little(page):
    page.fill("#verify-text textarea", "Hello there.")
    page.press("#verify-text textarea", "Shift+Enter")
    expect(page.locator("#verify-result .verdict b")).to_have_text("Too little text")


@pytest.mark.browser
@pytest.mark.slow
def test_a_picture_is_recognised_after_its_metadata_are_gone(page, picture, tmp_path):
    page.set_input_files("#verify-file input", picture)
    expect(page.locator("#verify-result")).to_contain_text("signed by somebody whom this server")
    expect(page.locator("#verify-result")).to_contain_text("three red apples")
    bare = tmp_path / "bare.jpg"
    Image.open(picture).convert("RGB").save(bare, quality=50)
    page.reload()
    page.get_by_role("tab", name="Verify").click()
    page.set_input_files("#verify-file input", bare)
    expect(page.locator("#verify-result .verdict b")).to_have_text("Marked")
    expect(page.locator("#verify-result")).to_contain_text("Watermark found in the pixels")
    expect(page.locator("#verify-result")).not_to_contain_text("Content Credentials")


@pytest.mark.browser
def test_what_cannot_be_looked_at_is_said_in_one_sentence(page, tmp_path):
    path = tmp_path / "cut.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    page.set_input_files("#verify-file input", path)
    expect(page.locator("#verify-result")).to_contain_text("is no picture that can be read")


@pytest.mark.browser
@pytest.mark.slow
def test_a_translation_is_looked_at_beside_its_original(page, client):
    page.fill("#verify-text textarea", " ".join(FRENCH * 3))
    page.get_by_text("I have the original, or know what was asked").click()
    page.fill("#verify-original textarea", " ".join(ENGLISH * 3))
    page.click("#verify-go")
    row = page.locator("#verify-result table.facts tr", has_text="translation").locator("td")
    expect(row.nth(4)).to_have_text(re.compile(r"^[\de.-]+$"))  # p, with the model
    page.fill("#verify-original textarea", "12, 13")
    page.click("#verify-go")
    expect(page.locator("#verify-result")).to_contain_text(
        "the language of the original cannot be told"
    )
    settings = {"path": None, "thorough": False, "api_name": "/verify"}
    texts = {"text": " ".join(FRENCH * 3), "original": " ".join(ENGLISH * 3)}
    found = client.predict(**texts, **settings)
    assert {test["mark"] for test in found["text_tests"] if test["p_model"]} == {"translation"}


@pytest.mark.slow
def test_the_endpoint_says_what_it_found(client, story, picture, tmp_path):
    found = client.predict(text=story, path=None, thorough=False, api_name="/verify")
    assert found["verdict"] == "marked"
    assert found["text_tests"][0]["parts"]
    path = tmp_path / "edited.png"
    content = bytearray(open(picture, "rb").read())
    content[-40] ^= 1
    path.write_bytes(content)
    image = Image.open(picture).convert("RGB")
    ImageDraw.Draw(image).rectangle((0, 0, 40, 40), fill="red")
    image.save(tmp_path / "drawn-over.png")
    found = client.predict(
        text="", path=handle_file(tmp_path / "drawn-over.png"), thorough=False, api_name="/verify"
    )
    assert found["verdict"] == "marked"
    assert found["credentials"] is None
    assert found["picture_tests"][0]["p_value"] < 1e-6
    with pytest.raises(AppError, match="give either a text or a file"):
        client.predict(text="", path=None, thorough=False, api_name="/verify")
