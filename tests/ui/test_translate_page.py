"""The Translate tab in a real browser, with a tiny model that writes gibberish."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser

SOURCE = "#source-text textarea"
SENTENCE = "#translation .sentence"
STATUS, FOUND = "#translate-status", "#found-language"
GO, STOP = "#translate", "#translate-stop"
ENGLISH = "The train to the coast leaves at half past nine."
FRENCH = "Où est la gare, s'il vous plaît ?"
LONG = "".join(f"This is sentence number {i} of a long story about a cat.\n" for i in range(80))
SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Where is the station?</i>

2
00:00:03,000 --> 00:00:04,000
I am looking for the train.
"""


@pytest.fixture
def page(browser, translation_server):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(30_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    show(page, translation_server.url)
    yield page
    context.close()
    assert errors == []


def show(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_role("tab", name="Translate").click()
    page.wait_for_selector(SOURCE)
    page.wait_for_timeout(500)  # what is typed while the page is put together is lost


def finished(page: Page, count: int) -> None:
    """Waits until so many sentences are translated."""
    plural = "s" if count != 1 else ""
    expect(page.locator(STATUS)).to_contain_text(f"{count} sentence{plural} · ", timeout=120_000)
    # "36 of 80 sentences · 9 s left" holds those words too: only then it is over
    expect(page.locator(GO)).to_be_visible(timeout=120_000)


def translated(page: Page, text: str, count: int = 1) -> str:
    """Types a text and waits; gives the translation."""
    page.fill(SOURCE, text)
    finished(page, count)
    return page.inner_text("#translation .pane")


def choose(page: Page, side: str, name: str) -> None:
    page.locator(f"#{side}-language label").get_by_text(name, exact=True).click()


def chosen(page: Page, side: str) -> str:
    return page.locator(f"#{side}-language label.selected").inner_text().strip()


def open_part(page: Page, name: str) -> None:
    """Opens an accordion; what is typed while its parts are being put into the page is lost."""
    page.locator(f"#{name} > button").click()
    page.wait_for_timeout(1_000)


def set_slider(page: Page, label: str, number: int) -> None:
    box = page.get_by_label(f"number input for {label}")
    box.fill(str(number))
    box.press("Tab")
    expect(page.get_by_label(f"range slider for {label}")).to_have_value(str(number))


def drop(page: Page, name: str, content: str) -> None:
    file = {"name": name, "mimeType": "text/plain", "buffer": content.encode()}
    page.set_input_files("#file input[type=file]", file)


def saved(page: Page) -> tuple[str, str]:
    """Name and content of the translated file."""
    with page.expect_download() as download:
        page.click("#file-save")
    return download.value.suggested_filename, download.value.path().read_text("utf-8")


def test_typing_translates_after_a_pause_and_tells_the_language(page):
    page.locator(SOURCE).press_sequentially(ENGLISH, delay=5)
    expect(page.locator(SENTENCE)).to_have_count(1)
    finished(page, 1)
    expect(page.locator(FOUND)).to_contain_text(re.compile(r"English · \d+% sure"))
    expect(page.locator("#source-count")).to_contain_text(f"{len(ENGLISH)} / 5,000")
    page.locator(SOURCE).press_sequentially(" Shall we go?", delay=5)
    finished(page, 2)


@pytest.mark.slow
def test_nothing_is_translated_before_the_pause_but_control_enter_does_it(page):
    page.locator(SOURCE).press_sequentially(ENGLISH)
    page.wait_for_timeout(100)
    assert not page.locator(STOP).is_visible()
    page.press(SOURCE, "Control+Enter")
    finished(page, 1)
    assert page.input_value(SOURCE) == ENGLISH


@pytest.mark.slow
def test_a_newer_text_takes_the_place_of_one_that_is_being_translated(page):
    open_part(page, "translate-settings")
    set_slider(page, "Beams", 8)
    page.fill(SOURCE, LONG)
    expect(page.locator(STATUS)).to_contain_text("of 80 sentences")
    page.fill(SOURCE, ENGLISH)
    finished(page, 1)
    expect(page.locator(SENTENCE)).to_have_count(1)
    page.wait_for_timeout(1_000)
    expect(page.locator(SENTENCE)).to_have_count(1)
    expect(page.locator(STOP)).not_to_be_visible()


@pytest.mark.parametrize("how", ["key", "button"])
@pytest.mark.slow
def test_stop_really_stops_and_keeps_what_is_translated(page, how):
    open_part(page, "translate-settings")
    set_slider(page, "Beams", 8)
    page.fill(SOURCE, LONG)
    expect(page.locator(STATUS)).to_contain_text(re.compile(r"\b(4|36|68) of 80 sentences"))
    if how == "key":
        page.keyboard.press("Escape")
    else:
        page.click(STOP)
    expect(page.locator(STATUS)).to_contain_text(re.compile(r"stopped after (4|36|68) of 80"))
    expect(page.locator(GO)).to_be_visible()
    done = page.locator(SENTENCE).count()
    assert done in (4, 36, 68)
    assert page.locator("#translation .waiting").count() == 80 - done
    page.click(GO)  # and it can be taken up again
    finished(page, 80)


@pytest.mark.slow
def test_swap_takes_the_text_along(page):
    result = translated(page, ENGLISH)
    page.click("#swap")
    expect(page.locator(SOURCE)).not_to_have_value(ENGLISH)
    assert (chosen(page, "source"), chosen(page, "target")) == ("French", "English")
    typed = page.input_value(SOURCE)
    assert [c for c in typed if c.isprintable()] == [c for c in result if c.isprintable()]


def test_swap_without_a_known_language_says_so(page):
    page.click("#swap")
    expect(page.locator(STATUS)).to_contain_text("until the first one is known")
    assert chosen(page, "source") == "Detect"


@pytest.mark.parametrize("how", ["click", "Enter"])
@pytest.mark.slow
def test_a_sentence_opens_with_its_alternatives_and_what_it_says_back(page, how):
    translated(page, f"{ENGLISH} Shall we go?", 2)
    second = page.locator(SENTENCE).nth(1)
    if how == "click":
        second.click()
    else:
        second.focus()
        page.keyboard.press(how)
    panel = page.locator("#sentence .panel")
    expect(panel).to_contain_text("Shall we go?")
    expect(panel).to_contain_text("Translated back into English")
    expect(page.locator("#back")).not_to_have_text("…")
    assert page.locator("#sentence .alternative").count() in (1, 2, 3)
    expect(second).to_have_attribute("aria-expanded", "true")
    expect(panel.locator(".hint")).to_have_attribute("title", re.compile("chrF"))
    second.click()
    expect(panel).to_have_count(0)


@pytest.mark.slow
def test_an_alternative_replaces_its_sentence(page):
    translated(page, f"{ENGLISH} Shall we go?", 2)
    page.locator(SENTENCE).first.click()
    page.wait_for_selector("#sentence .alternative")
    was = page.locator(SENTENCE).first.inner_text()
    other = page.locator("#sentence .alternative").first.inner_text()
    page.locator("#sentence .alternative").first.click()
    expect(page.locator(SENTENCE).first).to_have_text(other)
    expect(page.locator("#sentence .alternative").first).to_have_text(was)
    expect(page.locator("#sentence")).to_contain_text("not known for this version")
    assert other in page.locator("#translation-text textarea").input_value()


@pytest.mark.slow
def test_the_result_is_copied_and_clear_empties_both_panes(page):
    translated(page, ENGLISH)
    page.click("#translate-copy")
    expect(page.locator(STATUS)).to_contain_text("copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#translation-text textarea").input_value()
    page.click("#translate-clear")
    expect(page.locator(SOURCE)).to_have_value("")
    expect(page.locator(SENTENCE)).to_have_count(0)
    page.click("#translate-copy")
    expect(page.locator(STATUS)).to_contain_text("there is no translation to copy yet")


@pytest.mark.slow
def test_languages_other_than_english_go_by_way_of_it(page):
    choose(page, "target", "German")
    translated(page, FRENCH)
    expect(page.locator("#translate-notes")).to_contain_text("By way of English")


@pytest.mark.slow
def test_markup_in_a_text_is_shown_as_text(page):
    nasty = '<img src=x onerror="window.hit = 1"> Here is the ${hit} and the {{value}} of it.'
    page.fill(SOURCE, nasty)
    expect(page.locator(SENTENCE).first).to_be_visible()
    expect(page.locator(GO)).to_be_visible()
    page.locator(SENTENCE).first.click()
    expect(page.locator("#sentence .panel")).to_be_visible()
    assert "<img src=x" in page.inner_text("#translation .pane")
    assert "${hit}" in page.inner_text("#translation .pane")
    assert "{{value}}" in page.inner_text("#translation .pane")
    assert page.locator("#translation img, #sentence img").count() == 0
    assert page.evaluate("window.hit") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("🎉", "there are no words in this text"),
        ("ok", "the language cannot be told from so short a text"),
        ("Vorrei prenotare un tavolo per due persone.", "looks like Italian, which is not"),
        (FRENCH, "the text is French already"),
        ("ring \x07 the bell", "a control character, U+0007"),
        ("a word " * 800, "5,600 characters and up to 5,000 are translated here"),
    ],
)
def test_what_cannot_be_translated_is_one_sentence_and_the_text_stays(page, text, sentence):
    page.fill(SOURCE, text)
    expect(page.locator(STATUS)).to_contain_text(sentence)
    assert page.input_value(SOURCE) == text
    expect(page.locator(GO)).to_be_visible()


@pytest.mark.slow
def test_choosing_the_language_helps_where_it_cannot_be_told(page):
    page.fill(SOURCE, "ok")
    expect(page.locator(FOUND)).to_contain_text("unknown: choose the language")
    choose(page, "source", "English")
    finished(page, 1)
    choose(page, "source", "French")
    expect(page.locator(STATUS)).to_contain_text("source and target are both French")


def test_an_example_is_translated_with_one_click(page):
    page.locator("#translate-examples button").nth(2).click()
    finished(page, 2)
    assert page.input_value(SOURCE).startswith("Könnten Sie mir")
    assert chosen(page, "target") == "English"


@pytest.mark.slow
def test_a_glossary_is_loaded_and_honoured(page):
    open_part(page, "glossary")
    file = {"name": "terms.csv", "mimeType": "text/csv", "buffer": b"coast;Riviera\n"}
    with page.expect_file_chooser() as chooser:
        page.click("#load-terms")
    chooser.value.set_files(file)
    expect(page.locator("#terms-line")).to_contain_text("1 term")
    assert "Riviera" in translated(page, ENGLISH)
    expect(page.locator("#translate-notes li").last).to_be_visible()


@pytest.mark.slow
def test_a_bad_glossary_is_one_sentence(page):
    open_part(page, "glossary")
    file = {"name": "terms.csv", "mimeType": "text/csv", "buffer": b"coast;Riviera\nalone\n"}
    with page.expect_file_chooser() as chooser:
        page.click("#load-terms")
    chooser.value.set_files(file)
    expect(page.locator(".toast-body").first).to_contain_text("row 2 of terms.csv must be a term")


@pytest.mark.slow
def test_subtitles_come_back_as_subtitles(page):
    open_part(page, "translate-files")
    drop(page, "film.srt", SRT)
    page.wait_for_timeout(500)
    page.click("#file-go")
    expect(page.locator("#file-save")).to_contain_text("film.fr.srt")
    expect(page.locator("#file-progress")).to_contain_text("2 sentences")
    expect(page.locator("#file-notes")).to_contain_text("It is in English")
    name, content = saved(page)
    assert name == "film.fr.srt"
    assert "00:00:01,000 --> 00:00:02,500" in content
    assert "00:00:03,000 --> 00:00:04,000" in content
    assert "I am looking for the train." not in content


@pytest.mark.slow
def test_the_column_of_a_table_is_chosen(page):
    open_part(page, "translate-files")
    rows = "id,comment\n1,The room was very small.\n2,The breakfast was good.\n"
    drop(page, "hotel.csv", rows)
    column = page.locator("#column input")
    expect(column).to_have_value("id")
    column.click()
    page.get_by_role("option", name="comment").click()
    page.click("#file-go")
    expect(page.locator("#file-save")).to_contain_text("hotel.fr.csv")
    lines = saved(page)[1].splitlines()
    assert lines[0] == "id,comment"
    assert lines[1].startswith("1,")
    assert "small" not in lines[1]


@pytest.mark.slow
def test_a_stopped_file_keeps_what_was_translated(page):
    open_part(page, "translate-files")
    text = "\n".join(f"This is line number {i} of a long story about a cat." for i in range(1500))
    drop(page, "story.txt", text)
    page.wait_for_timeout(500)
    page.click("#file-go")
    expect(page.locator("#file-progress")).to_contain_text(re.compile(r"[1-9]\d* of 1,500"))
    page.keyboard.press("Escape")
    expect(page.locator("#file-progress")).to_contain_text("stopped after")
    name, content = saved(page)
    assert name == "story.fr.txt"
    lines = content.splitlines()
    kept = [line for line in lines if line in text.splitlines()]
    assert 0 < len(kept) < 1500
    expect(page.locator("#file-go")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("photo.txt", "a\0b", "photo.txt holds binary data"),
        ("empty.txt", "", "empty.txt is empty; give a file that holds text"),
        ("table.csv", 'a,b\n"1,2\n', "opens a quotation mark in row 2"),
    ],
)
@pytest.mark.slow
def test_files_that_cannot_be_read_are_one_sentence(page, name, content, sentence):
    open_part(page, "translate-files")
    drop(page, name, content)
    expect(page.locator("#file-progress")).to_contain_text(sentence)


@pytest.mark.slow
def test_no_file_is_one_sentence(page):
    open_part(page, "translate-files")
    page.click("#file-go")
    expect(page.locator(".toast-body").first).to_contain_text("choose a file first")


@pytest.mark.slow
def test_everything_is_reached_with_the_tab_key(page):
    translated(page, f"{ENGLISH} Shall we go?", 2)
    page.locator(SENTENCE).first.click()
    page.wait_for_selector("#sentence .alternative")
    page.locator("#source-language input").first.focus()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(() => { const at = document.activeElement; return at.id || at.className "
                "|| at.closest('[id]')?.id || at.tagName; })()"
            )
        )
    for wanted in ("swap", "translate", "translate-clear", "translate-copy", "alternative"):
        assert any(wanted in str(one).split() for one in reached), (wanted, reached)
    assert any("sentence" in str(one).split() for one in reached)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.slow
def test_the_tab_fits_light_and_dark_wide_and_narrow(browser, translation_server, theme, width):
    page = browser.new_page(viewport={"width": width, "height": 844})
    show(page, f"{translation_server.url}?__theme={theme}")
    translated(page, f"{ENGLISH} Shall we go?", 2)
    page.locator(SENTENCE).first.click()
    page.wait_for_selector("#sentence .panel")
    for name in ("translate-settings", "glossary", "translate-files"):
        open_part(page, name)
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    left = page.locator(SOURCE).bounding_box()
    right = page.locator("#translation .pane").bounding_box()
    assert left
    assert right
    assert (right["x"] >= left["x"] + left["width"]) == (width == 1280)
    page.close()
