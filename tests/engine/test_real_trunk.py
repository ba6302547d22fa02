"""The real weights: parity with `transformers` on the GGUF itself, speed, memory, agreement."""

from __future__ import annotations

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch

from mtgen import TextRequest
from mtgen.engine import native
from mtgen.model.trunk import SMOLLM2_135M, fetch
from tests.conftest import ROOT

PROMPTS = [
    "What is the capital of France?",
    "Count from 1 to 10.",
    "Explain why the sea is salty.",
    "Write a haiku about 2 frogs.",
]

PROSE = [
    "The mill stood at the end of the lane, where the stream bent round a row of old willows. "
    "Nobody had ground corn there for thirty years, but the wheel still turned when the water "
    "was high, and children came to watch it after school.",
    "A kettle boils sooner on a mountain, because the air there presses less on the water. "
    "Cooks who move to a high town learn to give their beans another hour.",
    "The meeting was called for nine. At half past, four chairs were still empty, and the "
    "chairman began to read the minutes aloud to those who had come, slowly, as if that would "
    "bring the others up the stairs.",
]

LONG_PROSE = "README.md", "CONTRIBUTING.md"


@pytest.fixture(scope="module")
def gguf_loaded(trunk_folder):
    """`transformers`' own reading of the pinned file: model and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = os.environ.get("MTGEN_TRUNK")
    path = given if given and os.path.isfile(given) else fetch(SMOLLM2_135M, trunk_folder.parent)
    folder, name = os.path.split(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval(), tokenizer


@pytest.mark.slow
def test_greedy_tokens_equal_those_of_transformers_on_the_gguf_file(gguf_loaded, real_float32):
    model, tokenizer = gguf_loaded
    for prompt in PROMPTS:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )["input_ids"]
        wanted = model.generate(ids, max_new_tokens=40, do_sample=False)[0, ids.shape[1] :]
        stream = real_float32.text_stream(prompt, temperature=0, max_new_tokens=40)
        found = stream.generation
        assert stream.prompt_ids == ids[0].tolist()
        assert stream.token_ids == [i for i in wanted.tolist() if i != model.config.eos_token_id]
        assert found.text == tokenizer.decode(wanted, skip_special_tokens=True)


def test_packed_perplexity_is_within_one_percent_of_float32(real, real_float32):
    # by 130 tokens alone, chance would decide: a token's log-probability is off by 0.06
    texts = PROSE + [(ROOT / name).read_text("utf-8")[:5000] for name in LONG_PROSE]
    totals = {}
    for name, pipeline in {"packed": real, "float32": real_float32}.items():
        scores = torch.cat([pipeline.log_likelihood(text) for text in texts])
        assert len(scores) > 1500
        totals[name] = math.exp(-scores.double().mean())
    assert abs(totals["packed"] / totals["float32"] - 1) < 0.01, totals


def test_packed_greedy_choices_mostly_equal_those_of_float32(real, real_float32):
    """Stated degree: at least 95 of 100 next tokens, given the same text before them."""
    agree = total = 0
    for prompt in PROMPTS:
        stream = real_float32.text_stream(prompt, temperature=0, max_new_tokens=40)
        assert stream.generation
        ids = torch.tensor(stream.prompt_ids + stream.token_ids)
        choices = []
        for pipeline in (real, real_float32):
            cache = pipeline.runtime.new_cache(len(ids))
            choices.append(pipeline.runtime.forward(ids, cache, all_logits=True).argmax(-1))
        answered = slice(len(stream.prompt_ids) - 1, None)
        agree += int((choices[0] == choices[1])[answered].sum())
        total += len(ids) - len(stream.prompt_ids) + 1
    assert agree / total >= 0.95, f"{agree} of {total}"


@pytest.mark.slow
def test_bench_shows_many_times_transformers_and_many_streams_at_once(shell):
    done = shell(
        "-m", "mtgen", "bench", "--rounds", 3, "--tokens", 32, "--task", "text", "--json",
        env={"MTGEN_TRUNK": os.environ.get("MTGEN_TRUNK", "")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    rows = {row["what"].split(" after")[0]: row for row in reversed(result["rows"])}
    times = 8 if native.library() is not None else 1.6
    assert rows["decoding"]["ratios"]["transformers"] > times
    assert max(result["resident_mb"].values()) < 1000
    if native.library() is not None:
        assert rows["8 streams together"]["ratios"]["one stream"] > 2.5
        assert rows["sampled and marked"]["ratios"]["without a mark"] > 0.9


def test_streams_that_step_together_get_what_they_get_alone(real):
    requests = [
        TextRequest(
            prompt=f"Tell me about the number {n}.", seed=n, max_new_tokens=10 + 3 * n,
            temperature=0.8, mark="none" if n % 2 else "gumbel",
        )
        for n in range(6)
    ]  # fmt: skip
    alone = [real.text(request).text for request in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: real.text(request).text, requests))
    assert together == alone


@pytest.mark.skipif(native.library() is None, reason="no compiler, or no AVX2")
def test_seeds_give_the_same_whatever_else_is_computed(real):
    """A text, a translation and a picture, alone and beside each other and more of the kind."""
    sentences = [f"The {n} old ships sailed home before the storm." for n in range(40, 52)]
    work = {
        "text": lambda: real.text("Tell me about the sea.", seed=4, max_new_tokens=60).text,
        "translation": lambda: real.translate(sentences[3], source="en", target="fr").text,
        "translations": lambda: real.translate_all(sentences, source="en", target="fr"),
        "picture": lambda: real.image("a red apple", seed=3).images[0].tobytes(),
        "other text": lambda: real.text("Name five rivers.", seed=5, max_new_tokens=60).text,
    }
    alone = {name: one() for name, one in work.items()}
    assert alone["translations"][3] == alone["translation"]
    with ThreadPoolExecutor(len(work)) as pool:
        jobs = {name: pool.submit(one) for name, one in work.items()}
    assert {name: job.result() for name, job in jobs.items()} == alone


def test_steps_together_are_those_alone_bit_for_bit(real):
    runtime = real.runtime
    prompts = [torch.arange(5 * n + 3) + 100 * n for n in range(1, 6)]
    caches = [[runtime.new_cache(64) for _ in prompts] for _ in range(2)]
    for cache, prompt in [pair for row in caches for pair in zip(row, prompts, strict=True)]:
        runtime.forward(prompt, cache)
    for token in (11, 500, 7):
        ids = torch.tensor([token])
        alone = [runtime.forward(ids, cache)[0] for cache in caches[0]]
        with ThreadPoolExecutor(len(prompts)) as pool:
            together = [row[0] for row in pool.map(partial(runtime.forward, ids), caches[1])]
        assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))
        assert [cache.length for cache in caches[0]] == [cache.length for cache in caches[1]]


def test_a_stream_that_ends_or_fails_holds_no_other_up(real):
    runtime = real.runtime
    full, free = runtime.new_cache(3), runtime.new_cache(64)
    for cache in (full, free):
        runtime.forward(torch.tensor([5, 6, 7]), cache)

    def step(cache):
        try:
            return runtime.forward(torch.tensor([8]), cache)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        failed, fine = pool.map(step, [full, free])
    assert "is full" in failed
    started = time.perf_counter()
    for _ in range(5):
        fine = step(free)
    assert fine.isfinite().all()
    assert time.perf_counter() - started < 5
