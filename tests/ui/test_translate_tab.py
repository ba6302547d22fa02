"""The Translate tab without a browser: endpoints, form, turns, and what it says."""

from __future__ import annotations

import json
import threading

import gradio as gr
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from mtgen.errors import LanguageError, MtgenError, SettingError
from mtgen.model.files import TRANSLATION_QUALITY
from mtgen.model.language import detect_language
from mtgen.requests import LANGUAGES, TranslatedSentence, TranslationRequest
from mtgen.ui.translate import EXAMPLES
from mtgen.ui.translate_files import bar_html, content_of, notes_of
from mtgen.ui.translate_form import DETECT, Form, swapped, terms_of
from mtgen.ui.translate_view import (
    MAX_TYPED,
    Shown,
    found_line,
    notes_html,
    panel_html,
    result_html,
)
from mtgen.ui.turns import Newest

ENGLISH = "The train to the coast leaves at half past nine."
FORM = Form(ENGLISH, DETECT, "fr", 4, 0.0, 3, "", [["", ""]])
ASKED = TranslationRequest(text="a", target="fr", source="en", num_alternatives=2)
NASTY = '<img src=x onerror="alert(1)"> ${1 + 1} {{value}} & "'


def sentence(text: str, **fields) -> TranslatedSentence:
    return TranslatedSentence(source="A cat.", text=text, **fields)


def shown(*parts, **fields) -> Shown:
    return Shown(parts=parts, asked=ASKED, finished=True, **fields)


def asked_of(**fields):
    form = FORM._replace(**fields)
    return form.request(form.detection())


@pytest.fixture(scope="module")
def client(translation_server) -> Client:
    return Client(translation_server.url, verbose=False)


# The endpoints


def test_the_endpoint_translates_and_says_everything_about_it(client):
    text = f"{ENGLISH} Shall we go?\n\n  - {{name}}: 25 apples"
    result = client.predict(text, "fr", num_alternatives=2, seed=7, api_name="/translate")
    assert result["request"]["source"] == "en"
    assert (result["request"]["target"], result["request"]["seed"]) == ("fr", 7)
    assert "\n\n  - {name}" in result["text"]
    assert result["detected"] > 0.5
    assert result["finish_reason"] in ("stop", "length")
    assert [s["source"] for s in result["sentences"]][0] == ENGLISH
    assert all(len(s["alternatives"]) <= 2 for s in result["sentences"])
    again = client.predict(text, "fr", source="en", num_alternatives=2, api_name="/translate")
    assert again["text"] == result["text"]


def test_the_endpoint_honours_a_glossary(client):
    result = client.predict(
        "The Seed is small.", "de", source="en", glossary=[["Seed", "Saatkorn"]],
        api_name="/translate",
    )  # fmt: skip
    assert "Saatkorn" in result["text"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"text": "", "target": "fr"}, "the text to translate is empty"),
        ({"text": ENGLISH, "target": "it"}, "no target language named 'it'"),
        ({"text": ENGLISH, "target": "en", "source": "en"}, "source and target are both English"),
        ({"text": "ok", "target": "fr"}, "choose the source language"),
        ({"text": "a\x00b", "target": "fr"}, "U+0000"),
        ({"text": ENGLISH, "target": "fr", "num_beams": 9}, "num_beams must be a whole number"),
        ({"text": ENGLISH, "target": "fr", "glossary": "x"}, "list of [term, translation] pairs"),
        ({"text": ENGLISH, "target": "fr", "glossary": [["x"]]}, "term 1 of the glossary must be"),
        ({"text": ENGLISH, "target": "fr", "glossary": [[1, 2]]}, "term 1 of the glossary must be"),
        ({"text": "x" * 200_001, "target": "fr"}, "up to 200,000 are translated at once"),
    ],
)
def test_bad_requests_are_one_sentence(client, arguments, sentence):
    with pytest.raises(AppError) as caught:
        client.predict(**arguments, api_name="/translate")
    assert sentence in str(caught.value)


def test_the_language_is_told_by_an_endpoint(client):
    found = client.predict("Où est la gare, s'il vous plaît ?", api_name="/detect")
    assert (found["language"], found["other"]) == ("fr", None)
    assert found["confidence"] > 0.9
    assert [one["language"] for one in found["candidates"]][0] == "fr"
    assert sum(one["confidence"] for one in found["candidates"]) == pytest.approx(1)
    italian = "Vorrei prenotare un tavolo per due persone, per favore."
    assert client.predict(italian, api_name="/detect")["other"] == "it"
    with pytest.raises(AppError, match="is empty"):
        client.predict(" ", api_name="/detect")


def test_the_languages_are_listed_by_an_endpoint(client):
    known = client.predict(api_name="/languages")
    assert {one["code"]: one["name"] for one in known} == LANGUAGES
    assert known[0]["targets"] == ["fr", "de", "es"]


# The form


def test_the_form_asks_in_the_language_that_was_found():
    request = asked_of(seed="5", glossary=[["cat", "chat"], ["", None]])
    assert (request.source, request.target, request.seed) == ("en", "fr", 5)
    assert request.glossary == (("cat", "chat"),)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": " \n"}, "type or paste a text to translate"),
        ({"text": None}, "type or paste a text to translate"),
        ({"text": "🎉"}, "there are no words in this text to translate"),
        ({"text": "12 + 5 = 17"}, "there are no words in this text to translate"),
        ({"text": "bell \x07 rings"}, "the text has a control character, U+0007, at position 5"),
        ({"text": "ok"}, "cannot be told from so short a text; choose it above"),
        ({"text": "أين تقع محطة القطار من فضلك؟"}, "the text looks like Arabic, which is not"),
        ({"text": "Vorrei prenotare un tavolo per due persone."}, "looks like Italian"),
        ({"target": "en"}, "the text is English already; choose another language"),
        ({"source": "fr"}, "source and target are both French; choose two languages"),
        ({"text": "word " * 1001}, "5,005 characters and up to 5,000 are translated here; save"),
        ({"seed": "many"}, "seed must be a whole number from 0 to 4294967295, got 'many'"),
        ({"num_beams": 2.5}, "num_beams must be a whole number, got 2.5"),
        ({"temperature": 3}, "temperature must be a number from 0 to 2, got 3"),
        ({"glossary": [["a", "b"], ["c", ""]]}, "row 2 of the glossary has no translation"),
        ({"glossary": [["", "b"]]}, "row 1 of the glossary has no term; fill it in or clear"),
        ({"glossary": [["a", "b"], ["A", "c"]]}, "the glossary gives 'A' two translations"),
    ],
)
def test_bad_input_is_one_sentence(fields, sentence):
    with pytest.raises((MtgenError, gr.Error)) as caught:
        asked_of(**fields)
    told = getattr(caught.value, "message", str(caught.value))
    assert sentence in told
    assert "\n" not in told


def test_blank_rows_of_the_glossary_are_skipped():
    assert terms_of([["", ""], [" a ", "b"], [None, None]]) == (("a", "b"),)
    assert terms_of(None) == ()
    with pytest.raises(SettingError):
        terms_of([["a"]])


def test_an_exchange_takes_the_text_along():
    assert swapped("Hello", "en", "fr", "Bonjour", None) == ("Bonjour", "fr", "en")
    assert swapped("Hello", DETECT, "fr", "Bonjour", "en") == ("Bonjour", "fr", "en")
    assert swapped("Hello", "en", "fr", "", None) == ("Hello", "fr", "en")
    with pytest.raises(LanguageError, match="until the first one is known"):
        swapped("", DETECT, "fr", "", None)


@pytest.mark.parametrize(("text", "target"), EXAMPLES)
def test_the_examples_are_in_their_language_and_can_be_translated(text, target):
    assert asked_of(text=text, target=target).source != target


def test_the_examples_are_in_all_four_languages():
    assert {detect_language(text).language for text, _ in EXAMPLES} == set(LANGUAGES)


# What is said of the language


def told(text: str, source: str | None = None) -> tuple[str, bool]:
    return found_line(text, detect_language(text), source)


def test_the_language_is_said_with_how_sure_that_is():
    line, hindered = told("Où est la gare, s'il vous plaît ?")
    assert line.startswith("French · ")
    assert line.endswith("% sure")
    assert not hindered
    assert told("ok") == ("unknown: choose the language", True)
    assert told("Vorrei prenotare un tavolo per due persone.") == (
        "looks like Italian, which is not translated", True,
    )  # fmt: skip
    assert found_line("", None, None) == ("", False)


def test_a_chosen_language_is_kept_and_a_doubt_is_said():
    assert told(ENGLISH, "en") == ("", False)
    assert told(ENGLISH, "de") == ("looks like English rather than German", False)
    assert told("ok", "de") == ("", False)


def test_mixed_languages_are_said():
    text = f"{ENGLISH} It is late. Wir haben gestern lange auf den Bus gewartet."
    line, hindered = told(text)
    assert "English" in line
    assert "also" in line
    assert "German" in line
    assert not hindered


# What is shown


def test_nothing_in_a_text_becomes_markup():
    view = shown(
        sentence(NASTY, alternatives=(NASTY,), notes=(NASTY,)), NASTY, open=0, back=NASTY,
        notes=(NASTY,),
    )  # fmt: skip
    for page in (result_html(view), panel_html(view), notes_html(view)):
        assert "<img" not in page
        assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt; ${1 + 1} {{value}} &amp;" in page


def test_sentences_are_buttons_and_those_not_reached_are_not():
    page = result_html(shown(sentence("Un chat."), " ", sentence("A dog.", done=False)))
    assert page.count('role="button" tabindex="0"') == 1
    assert '<span class="waiting" lang="en">A dog.</span>' in page


def test_an_alternative_takes_the_place_of_a_sentence_and_back():
    first = sentence("Un chat.", alternatives=("Le chat.", "Chat."), confidence=0.5)
    was = shown("- ", first, "\n", sentence("Deux."), open=0, back="A cat.")
    now = was.with_alternative(1)
    assert now.text == "- Chat.\nDeux."
    assert now.sentences[0].alternatives == ("Le chat.", "Un chat.")
    assert (now.sentences[0].confidence, now.back) == (None, None)
    assert now.with_alternative(1).text == was.text


def test_the_panel_says_why_there_are_no_alternatives():
    assert "the model found no other" in panel_html(shown(sentence("Un."), open=0))
    none = Shown(
        parts=(sentence("Un."),), asked=TranslationRequest(text="a", target="fr", source="en"),
        open=0,
    )  # fmt: skip
    assert "set Alternatives in the settings" in panel_html(none)
    assert "2% confident" in panel_html(shown(sentence("Un.", confidence=0.02), open=0))


def test_notes_say_the_way_the_sentences_and_the_quality(tmp_path):
    view = shown(
        sentence("Un.", notes=("Cut off.",)), sentence("Deux."),
        sentence("Trois.", notes=("Cut off.",)),
        via="en", confidence=0.5,
    )  # fmt: skip
    page = notes_html(view, tmp_path)
    assert "By way of English" in page
    assert "Sentences 1, 3: Cut off." in page
    assert "Quality" not in page
    (tmp_path / TRANSLATION_QUALITY).write_text(json.dumps([[0, 0], [1, 100]]), "utf-8")
    page = notes_html(view, tmp_path)
    assert "likely good" in page
    assert "chrF++ of 50" in page
    doubtful = shown(sentence("Un.", confidence=0.1))
    assert 'class="sentence doubtful"' in result_html(doubtful, tmp_path)


def test_the_bar_says_sentences_and_time_left():
    page = bar_html(12, 48, 9.2)
    assert "12 of 48 sentences · about 9 s left" in page
    assert 'aria-valuenow="25"' in page
    assert "0 of 0 sentences" in bar_html(0, 0, None)


def test_a_file_that_is_gone_is_one_sentence(tmp_path):
    for path in (None, str(tmp_path / "gone.txt")):
        with pytest.raises(gr.Error, match="choose"):
            content_of(path)


def test_notes_of_a_file_name_the_sentences(tiny_trunk, tiny_translation_weights):
    import mtgen

    pipeline = mtgen.load(tiny_trunk, weights=tiny_translation_weights, progress=False)
    stop = threading.Event()
    stop.set()
    stream = pipeline.translation_stream(
        "Wo ist der Bahnhof? Ich suche den Zug.", target="fr", stop=stop
    )
    notes = notes_of(stream.generation)
    assert "What was not reached stays in its own language in the file." in notes
    assert "By way of English." in notes
    assert any(note.startswith("It is in German: ") for note in notes)
    assert (
        "".join(p if isinstance(p, str) else p.text for p in stream.so_far) == stream.request.text
    )


# Turns


def test_a_newer_text_takes_the_place_of_the_one_before():
    texts = Newest()
    texts.begin("anna", "first")
    old = texts.claim("anna")
    assert old is not None
    assert texts.claim("anna") is None
    texts.begin("anna", "second")
    assert (old.stop.is_set(), old.discarded) == (True, True)
    texts.end("anna", old)
    assert texts.running("anna") == "second"
    new = texts.claim("anna")
    assert new is not None
    assert (new.work, new.stop.is_set()) == ("second", False)
    texts.end("anna", new)
    assert texts.running("anna") is None


def test_stop_keeps_what_there_is_and_drop_does_not():
    texts = Newest()
    texts.begin("anna", 1)
    texts.begin("ben", 2)
    job = texts.claim("anna")
    assert job is not None
    texts.stop("anna")
    assert (job.stop.is_set(), job.discarded) == (True, False)
    assert texts.running("anna") is None
    texts.drop("anna")
    assert job.discarded
    assert texts.running("ben") == 2
    texts.stop("nobody")
    texts.drop("nobody")


def test_the_limit_of_the_box_is_below_that_of_files():
    from mtgen.requests import MAX_TRANSLATION

    assert MAX_TYPED < MAX_TRANSLATION
