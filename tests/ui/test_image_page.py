"""The Image tab in a real browser, with a tiny model that draws noise."""

from __future__ import annotations

import time

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from mtgen.png import read_settings

pytestmark = pytest.mark.browser

PROMPT = "#picture-prompt textarea"
STATUS = "#picture-status"
DRAW, STOP = "#picture-prompt .submit-button", "#picture-prompt .stop-button"


@pytest.fixture
def page(browser, image_server):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(image_server.url)
    page.get_by_role("tab", name="Image").click()
    page.wait_for_selector(PROMPT)
    yield page
    context.close()
    assert errors == []


def ask(page: Page, text: str) -> None:
    page.fill(PROMPT, text)
    page.press(PROMPT, "Enter")


def drawn(page: Page, text: str) -> str:
    """Draws; gives the line of figures."""
    ask(page, text)
    page.wait_for_selector(STOP)
    page.wait_for_selector(DRAW)
    page.wait_for_selector("#pictures img")
    return page.inner_text(STATUS)


def choose(page: Page, label: str) -> None:
    page.locator(".chips label").get_by_text(label, exact=True).click()


def open_part(page: Page, name: str) -> None:
    """Opens an accordion; what is typed while its parts are being put into the page is lost."""
    page.locator(f"#{name} > button").click()
    page.wait_for_timeout(1_000)


def set_steps(page: Page, number: int) -> None:
    open_part(page, "picture-settings")
    box = page.get_by_label("number input for Steps")
    box.fill(str(number))
    box.press("Tab")
    expect(page.get_by_label("range slider for Steps")).to_have_value(str(number))


def seed_box(page: Page):
    return page.locator("#picture-seed").locator("input, textarea").first


def saved(page: Page, number: int, folder):
    """A downloaded picture."""
    with page.expect_download() as download:
        page.locator("#saves").get_by_role("button").nth(number).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def toast(page: Page) -> str:
    return page.locator(".toast-body").first.inner_text()


def test_enter_draws_and_each_picture_downloads_with_its_settings(page, tmp_path):
    choose(page, "2")
    choose(page, "Shaded cartoon")
    ask(page, "three red apples")
    page.wait_for_selector("#pictures img")
    expect(page.locator(STATUS)).to_contain_text("16 steps")
    assert page.locator("#pictures .thumbnail-item").count() == 2
    settings = [read_settings(saved(page, number, tmp_path)) for number in (0, 1)]
    seeds = [one.request.seed for one in settings]
    assert seeds[0] is not None
    assert seeds[1] == (seeds[0] + 1) % 2**32
    assert page.inner_text(STATUS).startswith(f"seed {seeds[0]} to {seeds[1]} · ")
    assert [one.request.style for one in settings] == ["noto", "noto"]
    assert page.input_value(PROMPT) == "three red apples"


@pytest.mark.slow
def test_the_last_seed_draws_the_same_picture_again(page, tmp_path):
    line = drawn(page, "a dog")
    first = saved(page, 0, tmp_path)
    page.click("#same-seed")
    expect(seed_box(page)).to_have_value(line.split()[1])
    assert drawn(page, "a dog").split()[1] == line.split()[1]
    (tmp_path / "again").mkdir()
    again = saved(page, 0, tmp_path / "again")
    assert Image.open(again).tobytes() == Image.open(first).tobytes()
    page.click("#random-seed")
    expect(seed_box(page)).to_have_value("")
    assert drawn(page, "a dog").split()[1] != line.split()[1]


@pytest.mark.parametrize("how", ["key", "button"])
@pytest.mark.slow
def test_stop_really_stops_and_leaves_what_there_is(page, tmp_path, how):
    set_steps(page, 64)
    choose(page, "4")
    ask(page, "a castle")
    page.wait_for_selector("#canvas img")
    expect(page.locator(STATUS)).to_contain_text("of 64")
    if how == "key":
        page.keyboard.press("Escape")
    else:
        page.click(STOP)
    page.wait_for_selector(DRAW)
    expect(page.locator(STATUS)).to_contain_text("stopped after step")
    assert page.locator("#pictures .thumbnail-item").count() == 4
    assert read_settings(saved(page, 0, tmp_path)).finish_reason == "cancelled"


@pytest.mark.slow
def test_a_second_prompt_while_one_is_drawn_is_not_lost(page):
    set_steps(page, 64)
    choose(page, "4")
    ask(page, "a castle")
    page.wait_for_selector("#canvas img")
    ask(page, "a bridge")
    page.wait_for_selector(".toast-body")
    assert "still being drawn" in toast(page)
    assert page.input_value(PROMPT) == "a bridge"
    page.keyboard.press("Escape")
    page.wait_for_selector(DRAW)
    assert page.input_value(PROMPT) == "a bridge"


def test_an_example_is_drawn_with_one_click(page):
    page.locator("#picture-examples button").get_by_text("deux chats noirs").click()
    page.wait_for_selector("#pictures img")
    assert page.input_value(PROMPT) == "deux chats noirs"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "the prompt is empty"), ("apple" * 1000, "the prompt has 5,000 characters")],
)
def test_a_bad_prompt_is_one_sentence_and_nothing_is_lost(page, text, sentence):
    ask(page, text)
    page.wait_for_selector(".toast-body")
    assert sentence in toast(page)
    assert page.input_value(PROMPT) == text
    assert page.locator(DRAW).is_visible()


def test_a_bad_seed_is_one_sentence_and_the_old_pictures_stay(page):
    drawn(page, "a dog")
    seed_box(page).fill("many")
    ask(page, "a cat")
    page.wait_for_selector(".toast-body")
    assert "seed must be a whole number from 0 to 4294967295, got 'many'" in toast(page)
    assert page.locator("#pictures img").count() == 1
    assert (page.input_value(PROMPT), seed_box(page).input_value()) == ("a cat", "many")


@pytest.mark.slow
def test_earlier_pictures_come_back_with_their_settings(page):
    choose(page, "Glossy")
    line = drawn(page, "a dog")
    choose(page, "Any")
    drawn(page, "a cat")
    open_part(page, "earlier")
    page.locator("#thumbnails .thumbnail-item").nth(1).click()
    expect(page.locator(PROMPT)).to_have_value("a dog")
    expect(seed_box(page)).to_have_value(line.split()[1])
    assert page.locator(".chips label.selected").first.inner_text().strip() == "Glossy"
    assert page.locator("#pictures .thumbnail-item").count() == 1


@pytest.mark.slow
def test_a_dropped_picture_shows_its_settings_and_fills_the_form(page, tmp_path):
    set_steps(page, 3)
    choose(page, "128 px")
    line = drawn(page, "ein grüner Apfel")
    assert "3 steps" in line
    path = saved(page, 0, tmp_path)
    page.reload()
    page.get_by_role("tab", name="Image").click()
    open_part(page, "from-picture")
    page.set_input_files("#drop input[type=file]", path)
    expect(page.locator("#found table")).to_contain_text("ein grüner Apfel")
    page.click("#use-seed")
    expect(seed_box(page)).to_have_value(line.split()[1])
    assert page.input_value(PROMPT) == ""
    open_part(page, "picture-settings")
    page.click("#use-all")
    expect(page.locator(PROMPT)).to_have_value("ein grüner Apfel")
    expect(page.get_by_label("number input for Steps")).to_have_value("3")
    (tmp_path / "again").mkdir()
    drawn(page, "ein grüner Apfel")
    again = saved(page, 0, tmp_path / "again")
    assert Image.open(again).tobytes() == Image.open(path).tobytes()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("photo.jpg", "photo.jpg is a JPEG file; only PNG files"),
        ("other.png", "other.png carries no settings of mtgen"),
        ("broken.png", "broken.png is no picture, or is damaged"),
    ],
)
def test_dropped_files_of_others_are_one_sentence_and_nothing_is_lost(
    page, tmp_path, name, sentence
):
    page.fill(PROMPT, "typed")
    if name == "broken.png":
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    else:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    open_part(page, "from-picture")
    page.set_input_files("#drop input[type=file]", tmp_path / name)
    page.wait_for_selector(".toast-body")
    assert sentence in toast(page)
    assert page.input_value(PROMPT) == "typed"
    assert page.locator("#use-all").count() == 0 or not page.locator("#use-all").is_visible()


@pytest.mark.slow
def test_a_comparison_is_one_sheet_with_its_progress(page, tmp_path):
    page.fill(PROMPT, "a dog")
    open_part(page, "comparison")
    page.get_by_label("Guidance values").fill("1, 4")
    page.click("#compare")
    page.wait_for_selector("#canvas img")
    expect(page.locator(STATUS)).to_contain_text("of 6")
    page.wait_for_selector("#pictures img", timeout=60_000)
    path = saved(page, 0, tmp_path)
    settings = read_settings(path)
    assert (len(settings.seeds), settings.guidance_scales) == (3, (1.0, 4.0))
    width, height = Image.open(path).size
    assert width > 2 * 256
    assert height > 3 * 256


def test_a_comparison_of_nothing_is_one_sentence(page):
    page.fill(PROMPT, "a dog")
    open_part(page, "comparison")
    page.get_by_label("Guidance values").fill("high")
    page.click("#compare")
    page.wait_for_selector(".toast-body")
    assert "guidance values must be numbers such as" in toast(page)


def test_known_things_are_searched_and_added_to_the_prompt(page):
    page.fill(PROMPT, "two")
    open_part(page, "known")
    page.fill("#query textarea, #query input", "Aepfel")
    expect(page.get_by_text("Not among them; it draws something all the same.")).to_be_visible()
    page.fill("#query textarea, #query input", "apfel")
    expect(page.locator("#things button").first).to_contain_text("apple · pomme · Apfel")
    page.locator("#things button").first.click()
    expect(page.locator(PROMPT)).to_have_value("two Apfel")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.slow
def test_the_tab_fits_light_and_dark_wide_and_narrow(browser, image_server, theme, width):
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto(f"{image_server.url}?__theme={theme}")
    page.get_by_role("tab", name="Image").click()
    drawn(page, "a dog")
    for name in ("picture-settings", "earlier", "comparison", "from-picture", "known"):
        open_part(page, name)
    time.sleep(0.5)
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    assert page.locator(DRAW).is_visible()
    page.close()
