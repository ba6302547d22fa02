"""Beam search against `transformers`."""

import threading

import pytest
import torch

from mtgen.engine import LlamaRuntime
from mtgen.model.beam import beam_search, read_batch
from tests.conftest import save_tiny

EOS = 2


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("beam")
    model = save_tiny(folder)
    with torch.no_grad():  # so that ends and long texts both occur
        model.model.embed_tokens.weight[EOS] *= 2
    model.save_pretrained(folder)
    return model, LlamaRuntime(folder, "float32")


PROMPTS = [[5, 77, 90, 12, 3], [8, 44], [100, 101, 102, 103, 104, 105, 106, 31]]


@pytest.mark.parametrize("num_beams", [1, 2, 4])
@pytest.mark.parametrize("penalty", [0.5, 1.0])
def test_hypotheses_are_those_of_transformers(both, num_beams, penalty):
    model, runtime = both
    found = dict(
        beam_search(
            runtime, PROMPTS, eos_ids=[EOS], max_new_tokens=[12] * 3, num_beams=num_beams,
            length_penalty=penalty,
        )
    )  # fmt: skip
    ends = 0
    for place, prompt in enumerate(PROMPTS):
        out = model.generate(
            torch.tensor([prompt]), max_new_tokens=12, num_beams=num_beams, do_sample=False,
            num_return_sequences=num_beams, length_penalty=penalty, pad_token_id=0,
            early_stopping=True, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        for rank, hypothesis in enumerate(found[place]):
            wanted = out.sequences[rank, len(prompt) :].tolist()
            wanted = wanted[: wanted.index(EOS)] if EOS in wanted else wanted
            assert list(hypothesis.ids) == wanted
            ends += hypothesis.ended
            if num_beams > 1:
                assert hypothesis.score == pytest.approx(float(out.sequences_scores[rank]), 1e-3)
    assert ends


def test_a_limit_of_its_own_for_each_prompt_and_stop(both):
    _, runtime = both
    found = dict(beam_search(runtime, PROMPTS, eos_ids=[], max_new_tokens=[3, 9, 5], num_beams=2))
    assert [len(found[place][0].ids) for place in range(3)] == [3, 9, 5]
    assert not found[0][0].ended
    stop = threading.Event()
    search = beam_search(
        runtime, PROMPTS, eos_ids=[], max_new_tokens=[3, 9, 5], num_beams=2, stop=stop
    )
    assert next(search)[0] == 0
    stop.set()
    assert list(search) == []


def test_of_beams_that_end_alike_the_best_alone_goes_on(both, monkeypatch):
    _, runtime = both
    steps = []
    likeliest = runtime.likeliest

    def seen(ids, *rest):
        steps.append(ids[:, -1].tolist())
        return likeliest(ids, *rest)

    monkeypatch.setattr(runtime, "likeliest", seen)

    def searched(suffix):
        steps.clear()
        return dict(
            beam_search(
                runtime, PROMPTS[:1], eos_ids=[], max_new_tokens=[8], num_beams=4, suffix=suffix
            )
        )[0]

    without = searched(None)
    assert searched(9) == without
    assert any(len(set(tokens)) < len(tokens) for tokens in steps)
    searched(1)
    assert all(len(set(tokens)) == len(tokens) for tokens in steps)


def test_a_padded_batch_scores_as_each_prompt_alone(both):
    _, runtime = both
    cache, logits = read_batch(runtime, PROMPTS, 2, None)
    follow = torch.tensor([[9], [10], [11]])
    later = runtime.forward(follow, cache)[:, -1]
    cache.select(torch.tensor([2, 2, 0]))
    last = runtime.forward(torch.tensor([[4], [5], [6]]), cache)[:, -1]
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([*prompt, int(follow[row])])
        alone = runtime.forward(ids, runtime.new_cache(20), all_logits=True)
        assert torch.allclose(alone[-2:], torch.stack([logits[row], later[row]]), atol=1e-3)
    for row, (source, token) in enumerate(((2, 4), (2, 5), (0, 6))):
        ids = torch.tensor([*PROMPTS[source], int(follow[source]), token])
        alone = runtime.forward(ids, runtime.new_cache(20))[-1]
        assert torch.allclose(alone, last[row], atol=1e-3)
