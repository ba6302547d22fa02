"""The Text tab in a real browser, on the real model."""

from __future__ import annotations

import json
import time

import pytest
from gradio_client import Client
from playwright.sync_api import Page, expect

from mtgen.ui.turns import PARALLEL

pytestmark = pytest.mark.browser

ANSWER = "#chat .bot.message:not([aria-label='Loading response'])"
QUESTION = "#chat .user.message"


@pytest.fixture
def page(browser, server):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#prompt textarea")
    yield page
    context.close()
    assert errors == []


def send(page: Page, text: str) -> None:
    page.fill("#prompt textarea", text)
    page.keyboard.press("Enter")


def finished(page: Page) -> str:
    """Waits for the answer's end; gives the line of figures."""
    page.wait_for_selector("#prompt .submit-button")
    expect(page.locator("#status")).to_contain_text("tokens", timeout=30_000)
    return page.inner_text("#status")


def settings(page: Page, *, seed: int | None = None, max_new_tokens: int | None = None) -> None:
    page.get_by_role("button", name="Settings", exact=False).first.click()
    if seed is not None:
        page.get_by_label("Random seed for each answer").uncheck()
        page.get_by_label("Seed", exact=True).fill(str(seed))
    if max_new_tokens is not None:
        box = page.get_by_label("number input for Max new tokens")
        box.fill(str(max_new_tokens))
        box.press("Tab")


def toast(page: Page) -> str:
    return page.locator(".toast-body").first.inner_text()


@pytest.mark.slow
def test_enter_sends_and_the_answer_streams_with_its_seed_and_speed(page):
    send(page, "Name three animals.")
    page.wait_for_selector(ANSWER)
    line = finished(page)
    assert "seed " in line
    assert "tokens/s" in line
    assert page.input_value("#prompt textarea") == ""
    assert len(page.inner_text(ANSWER)) > 3


def test_escape_stops_the_generation_itself(page, server):
    settings(page, max_new_tokens=4000)
    send(page, "Write a very long story about a dragon and a baker.")
    page.wait_for_selector(ANSWER)
    page.keyboard.press("Escape")
    started = time.monotonic()
    expect(page.locator("#status")).to_contain_text("stopped")
    assert time.monotonic() - started < 3
    # the cores are free: another user's short question is answered at once
    started = time.monotonic()
    Client(server.url, verbose=False).predict("Hi", max_new_tokens=2, api_name="/text")
    assert time.monotonic() - started < 3


def test_a_message_sent_while_an_answer_is_written_is_not_lost(page):
    settings(page, max_new_tokens=300)
    send(page, "Tell me a long story.")
    page.wait_for_selector(ANSWER)
    send(page, "and another")
    page.wait_for_selector(".toast-body")
    assert "still being written" in toast(page)
    assert page.input_value("#prompt textarea") == "and another"
    page.keyboard.press("Escape")
    assert finished(page)
    assert page.locator(QUESTION).count() == 1


@pytest.mark.slow
def test_the_same_seed_regenerates_the_same_answer(page):
    settings(page, seed=11, max_new_tokens=30)
    send(page, "Describe a garden.")
    finished(page)
    first = page.inner_text(ANSWER)
    page.click("#again")
    page.wait_for_selector("#prompt .stop-button")
    assert "seed 11" in finished(page)
    assert page.locator(ANSWER).count() == 1
    assert page.inner_text(ANSWER) == first


@pytest.mark.slow
def test_a_message_can_be_edited_and_is_answered_anew(page):
    settings(page, max_new_tokens=10)
    send(page, "Say one.")
    finished(page)
    page.locator(QUESTION).hover()
    page.get_by_label("Edit").first.click()
    page.locator("#chat textarea").fill("Say two.")
    page.get_by_label("Submit").click()
    page.wait_for_selector("#prompt .stop-button")
    finished(page)
    assert page.inner_text(QUESTION).strip() == "Say two."
    assert page.locator(ANSWER).count() == 1


@pytest.mark.slow
def test_a_failed_regeneration_puts_the_answer_back(page):
    settings(page, max_new_tokens=8)
    send(page, "Say one.")
    finished(page)
    first = page.inner_text(ANSWER)
    page.get_by_label("Random seed for each answer").uncheck()
    page.get_by_label("Seed", exact=True).fill("-1")
    page.click("#again")
    page.wait_for_selector(".toast-body")
    assert "seed must be a whole number from 0" in toast(page)
    page.wait_for_selector("#prompt .submit-button")
    expect(page.locator(ANSWER)).to_have_text(first.strip())
    assert page.input_value("#prompt textarea") == ""
    page.click("#export")  # its record is still there too
    expect(page.locator(".toast-body")).to_have_count(1)


@pytest.mark.slow
def test_a_failed_edit_keeps_the_old_chat_and_the_new_text(page):
    settings(page, max_new_tokens=8)
    send(page, "Say one.")
    finished(page)
    first = page.inner_text(ANSWER)
    page.get_by_label("Random seed for each answer").uncheck()
    page.get_by_label("Seed", exact=True).fill("1.5")
    page.locator(QUESTION).hover()
    page.get_by_label("Edit").first.click()
    page.locator("#chat textarea").fill("Say two.")
    page.get_by_label("Submit").click()
    page.wait_for_selector(".toast-body")
    page.wait_for_selector("#prompt .submit-button")
    expect(page.locator(QUESTION)).to_have_text("Say one.")
    expect(page.locator(ANSWER)).to_have_text(first.strip())
    expect(page.locator("#prompt textarea")).to_have_value("Say two.")


@pytest.mark.slow
def test_indentation_and_line_breaks_reach_the_model(page):
    settings(page, max_new_tokens=3)
    page.fill("#prompt textarea", "def f():\n    return 1")
    page.locator("#prompt .submit-button").click()
    finished(page)
    with page.expect_download() as download:
        page.click("#export")
    [generation] = json.loads(download.value.path().read_text("utf-8"))["generations"]
    assert generation["request"]["prompt"] == "def f():\n    return 1"


def test_undo_puts_the_message_back_into_the_box(page):
    settings(page, max_new_tokens=5)
    send(page, "Say one.")
    finished(page)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#prompt textarea")).to_have_value("Say one.")
    assert page.locator(QUESTION).count() == 0


def test_clear_while_writing_leaves_an_empty_chat(page):
    settings(page, max_new_tokens=1000)
    send(page, "Tell me a long story.")
    page.wait_for_selector(ANSWER)
    page.click("#clear")
    page.wait_for_selector("#prompt .submit-button")
    time.sleep(0.5)
    assert page.locator(ANSWER).count() == 0
    assert page.locator(QUESTION).count() == 0


@pytest.mark.slow
def test_export_downloads_all_that_is_needed_to_repeat_the_chat(page):
    settings(page, max_new_tokens=8)
    send(page, "Say one.")
    finished(page)
    with page.expect_download() as download:
        page.click("#export")
    exported = json.loads(download.value.path().read_text("utf-8"))
    [generation] = exported["generations"]
    assert generation["request"]["prompt"] == "Say one."
    assert f"seed {generation['seed']}" in page.inner_text("#status")


def test_an_example_is_asked_with_one_click(page):
    settings(page, max_new_tokens=5)
    page.locator("#chat .example").first.click()
    finished(page)
    assert page.locator(ANSWER).count() == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "the prompt is empty"), ("lighthouse " * 9000, "shorten it or ask for fewer new tokens")],
)
def test_a_bad_prompt_is_one_sentence_and_nothing_is_lost(page, text, sentence):
    send(page, text)
    page.wait_for_selector(".toast-body")
    assert sentence in toast(page)
    page.wait_for_selector("#prompt .submit-button")
    expect(page.locator("#prompt textarea")).to_have_value(text)
    assert page.locator(ANSWER).count() == 0


@pytest.mark.slow
def test_a_waiting_user_sees_the_place_in_the_queue(page, server):
    busy = [
        Client(server.url, verbose=False).submit(
            "Tell me a very long story.", max_new_tokens=2000, temperature=1.2, api_name="/text"
        )
        for _ in range(PARALLEL + 1)
    ]
    for job in busy[:PARALLEL]:
        next(iter(job))
    settings(page, max_new_tokens=3)
    send(page, "Hi")
    expect(page.locator("#chat")).to_contain_text("queue: ", timeout=10_000)
    for job in busy:
        job.cancel()
    finished(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_light_and_dark_wide_and_narrow(browser, server, theme, width):
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(f"{server.url}?__theme={theme}")
    page.wait_for_selector("#prompt textarea")
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    ink = page.evaluate("getComputedStyle(document.querySelector('h1')).color.match(/\\d+/g)")
    assert overflow <= 0
    assert (sum(map(int, ink[:3])) > 600) == (theme == "dark")
    assert page.locator("#prompt .submit-button").is_visible()
    page.close()
