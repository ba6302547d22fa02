"""Translation on a tiny trunk with a tiny expert: what holds whatever the model says."""

from __future__ import annotations

import dataclasses
import shutil
import threading

import pytest
import torch
from safetensors.torch import save_file

from mtgen.engine import LlamaRuntime
from mtgen.errors import (
    CorruptedFileError,
    EmptyPromptError,
    InvalidTextError,
    LanguageError,
    PromptTooLongError,
    SettingError,
    UnknownNameError,
    WeightsNotFoundError,
)
from mtgen.model.checkpoint import load_translation_expert
from mtgen.model.files import TARGET_VOCABULARY, TRANSLATION_EXPERT
from mtgen.model.transformer import LowRankConfig, LowRankExpert, TrunkModel
from mtgen.pipeline import Pipeline
from mtgen.requests import TranslationRequest
from mtgen.tasks.translate import Terms, is_held, is_shouted, runs_on

TEXT = """Dear Anna,

the bill of 250 euros (see https://example.org/b?n=7) is paid. Write to me: tom@example.org!

  - {name} gets **two** <b>apples</b> 🍎
"""


@pytest.fixture(scope="module")
def pipeline(tiny_trunk, tiny_translation_weights):
    return Pipeline.load(tiny_trunk, weights=tiny_translation_weights, precision="float32")


def test_the_runtime_applies_the_expert_as_training_does(tiny_trunk, pipeline):
    trunk = TrunkModel.from_dir(tiny_trunk)
    path = pipeline.weights / TRANSLATION_EXPERT
    updates = load_translation_expert(trunk.config, torch.float32, path)
    expert = LowRankExpert(LowRankConfig(rank=4), trunk.config)
    with torch.no_grad():
        for layer, by_name in enumerate(updates):
            for name, update in by_name.items():
                expert.down[f"{layer}_{name}"].copy_(update.down)
                expert.up[f"{layer}_{name}"].copy_(update.up)
    ids = torch.tensor([3, 60, 7, 100, 22])
    wanted = trunk.logits(trunk(ids[None], expert=expert).hidden[0])
    runtime = LlamaRuntime(tiny_trunk, "float32")
    found = runtime.forward(ids, runtime.new_cache(5), all_logits=True, expert=updates)
    plain = runtime.forward(ids, runtime.new_cache(5), all_logits=True)
    assert torch.allclose(found, wanted, atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_beams_write_only_what_a_language_needs(tiny_trunk, tiny_translation_weights, tmp_path):
    free = Pipeline.load(tiny_trunk, weights=tiny_translation_weights)
    wanted = {lang: free.translate("The old man sleeps.", source="en", target=lang).text
              for lang in ("de", "fr")}  # fmt: skip
    vowels = set("aeiouAEIOU")
    assert vowels & set(wanted["de"])
    assert vowels & set(wanted["fr"])
    texts = [free.tokenizer.decode([n]) for n in range(free.runtime.config.vocab_size)]
    tokens = [n for n, text in enumerate(texts) if text and not vowels & set(text)]
    shutil.copytree(tiny_translation_weights, tmp_path, dirs_exist_ok=True)
    save_file({"de": torch.tensor(tokens, dtype=torch.int32)}, tmp_path / TARGET_VOCABULARY)
    for precision in ("packed", "float32"):
        bound = Pipeline.load(tiny_trunk, weights=tmp_path, precision=precision)
        result = bound.translate("The old man sleeps.", source="en", target="de")
        assert result.text
        assert not vowels & set(result.text)
        assert vowels & set(bound.translate("The old man sleeps.", source="en", target="fr").text)
        if precision == "packed":
            assert bound.translation_model != free.translation_model


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"x", "are damaged"), (range(40_000, 40_100), "do not fit"), ([7], "too short")],
)
def test_lists_of_tokens_that_do_not_fit_are_one_sentence(
    tiny_trunk, tiny_translation_weights, tmp_path, content, why
):
    shutil.copytree(tiny_translation_weights, tmp_path, dirs_exist_ok=True)
    path = tmp_path / TARGET_VOCABULARY
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        save_file({"fr": torch.tensor(content, dtype=torch.int32)}, path)
    pipeline = Pipeline.load(tiny_trunk, weights=tmp_path)
    with pytest.raises(CorruptedFileError, match=why):
        pipeline.translate("Hello.", source="en", target="fr")


@pytest.mark.parametrize("settings", [{}, {"num_beams": 1}, {"temperature": 1.0, "seed": 3}])
def test_whatever_the_model_says_nothing_is_lost(pipeline, settings):
    result = pipeline.translate(TEXT, source="en", target="de", **settings)
    for item in (
        "250", "https://example.org/b?n=7", "tom@example.org", "{name}", "**", "<b>", "</b>", "🍎",
    ):  # fmt: skip
        assert result.text.count(item) == TEXT.count(item), item
    assert result.text.count("\n") == TEXT.count("\n")
    assert "\n\n" in result.text
    assert "\n  - " in result.text
    assert result.finish_reason in ("stop", "length")
    assert result.via is None
    assert all(sentence.done and sentence.text for sentence in result.sentences)
    assert result.timings.num_sentences == len(result.sentences)


def test_a_glossary_is_honoured_in_every_sentence(pipeline):
    glossary = [("Seed", "Seed"), ("trunk", "tronc"), ("shared trunk", "tronc commun")]
    text = "Every Seed is kept. The trunk reads it. A shared trunk, two trunks."
    result = pipeline.translate(text, source="en", target="fr", glossary=glossary)
    first, second, third = (sentence.text for sentence in result.sentences)
    assert "Seed" in first
    assert "tronc" in second
    assert "tronc commun" in third
    assert any("glossary" in note for s in result.sentences for note in s.notes)


def test_languages_without_pairs_of_their_own_go_by_way_of_english(pipeline):
    result = pipeline.translate("Guten Tag, lieber Leser.", source="de", target="fr")
    assert result.via == "en"
    assert result.text


def test_the_language_is_found_out_or_the_request_refused(pipeline):
    result = pipeline.translate("Le chat dort sur le canapé du salon.", target="en")
    assert result.request.source == "fr"
    assert result.detected is not None
    assert result.detected > 0.9
    with pytest.raises(LanguageError, match="cannot be told; choose the source"):
        pipeline.translate("abc", target="en")
    with pytest.raises(LanguageError, match=r"another language \(it\)"):
        pipeline.translate("Ciao a tutti, come state oggi? Spero bene.", target="en")
    same = pipeline.translate("The cat sleeps on the sofa all day.", target="en")
    assert same.text == same.request.text
    assert same.notes == ("The text is English already; nothing was translated.",)


def test_alternatives_differ_and_samples_repeat(pipeline):
    settings = {"source": "en", "target": "es", "num_alternatives": 3}
    result = pipeline.translate("A word of thanks. And one more.", **settings)
    for sentence in result.sentences:
        texts = [sentence.text, *sentence.alternatives]
        assert len(set(texts)) == len(texts)
        assert 0 < (sentence.confidence or 1) <= 1
    again = {**settings, "temperature": 0.9, "seed": 5}
    first = pipeline.translate("A word of thanks. And one more.", **again)
    assert first.text == pipeline.translate("A word of thanks. And one more.", **again).text
    alone = pipeline.translate("And one more.", **again)
    assert alone.sentences[0].text == first.sentences[1].text


def test_a_stop_keeps_what_was_translated(pipeline):
    text = "\n".join(f"This is the sentence with the number {n}." for n in range(300))
    stop = threading.Event()
    stream = pipeline.translation_stream(text, source="en", target="fr", num_beams=1, stop=stop)
    progress = next(stream)
    assert 0 < progress.num_done < progress.num_sentences == 300
    stop.set()
    result = stream.generation
    assert result.finish_reason == "cancelled"
    done = [sentence for sentence in result.sentences if sentence.done]
    assert progress.num_done <= len(done) < 300
    assert all(s.text == s.source for s in result.sentences if not s.done)
    assert len(result.text.splitlines()) == 300


def test_a_text_of_marks_alone_comes_back_as_it_is(pipeline):
    for text in ("🍎", "https://example.org", "12 + 30 = 42", "…\n—\n"):
        result = pipeline.translate(text, source="en", target="fr")
        assert result.text == text
        assert result.sentences == ()


@pytest.mark.parametrize(
    ("fields", "error", "sentence"),
    [
        ({"text": " \n"}, EmptyPromptError, "is empty"),
        ({"text": "a\x00b"}, InvalidTextError, "control character"),
        ({"text": "a" * 200_001}, PromptTooLongError, "200,001 characters"),
        ({"target": "it"}, UnknownNameError, "no target language named 'it'"),
        ({"source": "xx"}, UnknownNameError, "no source language named 'xx'"),
        ({"source": "fr"}, SettingError, "both French"),
        ({"num_beams": 0}, SettingError, "num_beams"),
        ({"num_alternatives": 9}, SettingError, "num_alternatives"),
        ({"glossary": [("a", "")]}, SettingError, "term 1 of the glossary"),
        ({"glossary": [("a", "b"), ("A", "c")]}, SettingError, "two translations"),
    ],
)
def test_bad_requests_are_one_sentence(fields, error, sentence):
    good = {"text": "Hello there", "target": "fr"}
    with pytest.raises(error, match=sentence):
        TranslationRequest(**(good | fields))


def test_missing_weights_are_said(tiny_trunk, tmp_path):
    pipeline = Pipeline.load(tiny_trunk, weights=tmp_path)
    with pytest.raises(WeightsNotFoundError, match="translation_expert"):
        pipeline.translate("Hello there", source="en", target="fr")


def test_a_result_is_ready_for_json(pipeline):
    result = pipeline.translate("Hello there.", source="en", target="fr")
    record = result.as_dict()
    assert record["request"]["source"] == "en"
    assert record["confidence"] == result.confidence
    assert dataclasses.asdict(result)["model"].split("+")[1].startswith("translation-")


def test_small_judgements():
    terms = Terms([("trunk", "tronc"), ("shared trunk", "tronc commun")])
    assert terms.wanted("Trunks, a TRUNK, the shared trunk") == {"tronc": 1, "tronc commun": 1}
    assert terms.put_in("The trunk.") == "The tronc."
    assert is_held(terms.wanted("trunk trunk"), "Tronc et tronc")
    assert not is_held(terms.wanted("trunk trunk"), "le tronc")
    assert runs_on("Hello", "go on and go on and go on and go on and go on")
    assert not runs_on("He runs and she runs and we run.", "Il court, elle court et nous courons.")
    assert is_shouted("WHERE ARE YOU?")
    assert not is_shouted("NATO")
    assert not is_shouted("We are in the USA.")
