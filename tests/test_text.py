"""The text task through the pipeline, on a tiny model."""

from __future__ import annotations

import pytest

import mtgen
from mtgen.errors import PromptTooLongError, SettingError
from mtgen.requests import Message, TextRequest


def talk(*contents: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=c) for i, c in enumerate(contents))


def test_a_seed_is_always_chosen_and_makes_the_same_output_again(tiny):
    first = tiny.text("Hello", max_new_tokens=20, temperature=1.0)
    again = tiny.text(first.request)
    other = tiny.text("Hello", max_new_tokens=20, temperature=1.0)
    assert again.text == first.text
    assert first.seed != other.seed
    assert first.text != other.text


def test_streamed_pieces_add_up_to_the_text(tiny):
    stream = tiny.text_stream("Hello", max_new_tokens=60, temperature=1.5, seed=3)
    assert "".join(stream) == stream.generation.text


def test_a_stream_stops_within_one_token(tiny):
    stream = tiny.text_stream("Hello", max_new_tokens=100, temperature=1.5, seed=1)
    next(stream)
    before = len(stream.token_ids)
    stream.stop()
    generation = stream.generation
    assert generation.finish_reason == "cancelled"
    assert len(stream.token_ids) <= before + 1
    assert generation.timings.num_new_tokens == len(stream.token_ids)


def test_stop_works_while_a_long_prompt_is_read(tiny):
    stream = tiny.text_stream("word " * 40, max_new_tokens=5)
    stream.stop()
    assert stream.generation.finish_reason == "cancelled"
    assert stream.generation.text == ""


def test_a_dropped_stream_does_no_further_work(tiny):
    stream = tiny.text_stream("Hello", max_new_tokens=50, temperature=1.5, seed=1)
    next(stream)
    count = len(stream.token_ids)
    stream._pieces.close()
    assert len(stream.token_ids) == count
    with pytest.raises(RuntimeError, match="closed"):
        _ = stream.generation


def test_reaching_the_limit_is_said(tiny):
    generation = tiny.text("Hello", max_new_tokens=1, temperature=1.0, seed=5)
    assert generation.finish_reason in ("length", "stop")
    assert generation.timings.num_new_tokens <= 1
    assert generation.timings.num_decode_steps == 0
    assert generation.timings.tokens_per_s is None


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(tiny):
    with pytest.raises(PromptTooLongError, match=r"room for 156 of the model's 256") as error:
        tiny.text("x" * 600, max_new_tokens=100)
    assert "the prompt has" in str(error.value)


def test_100_000_characters_are_refused_at_once(real):
    with pytest.raises(PromptTooLongError, match="tokens, and with max_new_tokens=256"):
        real.text("lighthouse " * 9091)


def test_history_is_trimmed_from_the_oldest_turn_and_says_so(tiny):
    history = talk("first " * 20, "answer", "second", "fine")
    stream = tiny.text_stream(
        TextRequest(prompt="third", history=history, max_new_tokens=150, seed=0)
    )
    assert stream.notes == ("the 2 oldest messages were left out: the context is full",)
    shown = tiny.tokenizer.decode(stream.prompt_ids)
    assert "first" not in shown
    assert "second" in shown
    assert "third" in shown


def test_a_very_long_history_is_trimmed_quickly(real):
    import time

    history = talk(*["a sentence about a lighthouse and its keeper"] * 2000)
    started = time.monotonic()
    stream = real.text_stream(TextRequest(prompt="And now?", history=history, seed=0))
    assert time.monotonic() - started < 3
    assert "oldest messages were left out" in stream.notes[0]
    assert len(stream.prompt_ids) > 7000


def test_history_that_fits_is_kept_whole(tiny):
    stream = tiny.text_stream(
        TextRequest(prompt="third", history=talk("one", "two"), max_new_tokens=20)
    )
    assert stream.notes == ()
    assert "one" in tiny.tokenizer.decode(stream.prompt_ids)


def test_a_system_message_goes_in_front(tiny):
    stream = tiny.text_stream("Hello", system="Be brief.", max_new_tokens=5)
    assert tiny.tokenizer.decode(stream.prompt_ids).startswith("system\nBe brief.")


def test_only_emoji_are_answered(real):
    generation = real.text("🐱🐱🐱", max_new_tokens=12, seed=0)
    assert generation.timings.num_new_tokens > 0


def test_an_unknown_setting_is_named(tiny):
    with pytest.raises(SettingError, match="top_k"):
        tiny.text("Hello", top_k=5)


def test_a_generation_is_json_ready(tiny):
    import json

    record = json.loads(json.dumps(tiny.text("Hello", max_new_tokens=3, seed=4).as_dict()))
    assert record["seed"] == 4
    assert record["request"]["prompt"] == "Hello"
    assert record["model"].endswith("/packed")


def test_likelihood_matches_transformers(tmp_path):
    import torch

    from tests.conftest import save_tiny

    model = save_tiny(tmp_path)
    pipeline = mtgen.load(tmp_path, precision="float32", progress=False)
    text = "The licence grants rights."
    ids = torch.tensor([[0, *pipeline.tokenizer.encode(text)]])
    with torch.no_grad():
        scores = model(ids).logits[0, :-1].log_softmax(-1)
    wanted = scores.gather(1, ids[0, 1:, None]).squeeze(1)
    assert torch.allclose(pipeline.log_likelihood(text), wanted, atol=1e-3)


def test_several_threads_get_the_answers_that_they_would_get_alone(tiny):
    from concurrent.futures import ThreadPoolExecutor

    def answer(seed: int) -> str:
        return tiny.text("Hello", max_new_tokens=20, temperature=1.0, seed=seed).text

    alone = [answer(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, range(8))) == alone
