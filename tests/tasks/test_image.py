"""Drawing: rounds, seeds, guidance, and what is refused."""

import math
import shutil
import threading

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mtgen
from mtgen.errors import (
    EmptyPromptError,
    InvalidTextError,
    PromptTooLongError,
    SettingError,
    UnknownNameError,
)
from mtgen.model.files import AUTOENCODER, IMAGE_EXPERT, PICTURE_TOKENIZER
from mtgen.model.sampling import seeded
from mtgen.requests import ImageRequest
from mtgen.tasks.image import Prompts, choose, draw, read_prompts, settled_after
from tests.model.test_image_expert import TINY, prompt, tiny_expert


def drawn(seeds, *, steps=4, guidance=2.0, temperature=1.0, expert=None):
    expert = expert or tiny_expert()
    reads, mask = prompt(expert, batch=2)
    options = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "temperature": temperature,
    }
    read = Prompts(reads, [], mask)
    return list(draw(expert, read, [seeded(s) for s in seeds], **options))


def test_each_round_settles_some_places_for_good_and_the_last_all():
    rounds = drawn([1], steps=5)
    assert len(rounds) == 5
    assert rounds[-1].shape == (1, TINY.num_places, TINY.codes_per_place)
    for step in range(1, 5):
        same = (rounds[step - 1] == rounds[-1]).all(-1).sum()
        assert same >= settled_after(step, 5, TINY.num_places)


@pytest.mark.parametrize("steps", [1, 2, 16, 64])
def test_the_schedule_grows_by_at_least_one_place_and_ends_with_all(steps):
    counts = [settled_after(step, steps, 64) for step in range(1, steps + 1)]
    assert counts[-1] == 64
    assert all(b > a for a, b in zip([0, *counts], counts, strict=False))


def test_a_picture_is_the_same_alone_and_among_others():
    together = drawn([7, 8, 9])[-1]
    assert torch.equal(drawn([8])[-1][0], together[1])
    assert not torch.equal(together[0], together[1])


@pytest.mark.gpu
def test_an_expert_on_a_gpu_draws_what_it_draws_on_the_cpu():
    expert = tiny_expert()
    reads, mask = prompt(expert, batch=2)
    options = {"num_inference_steps": 4, "guidance_scale": 2.0, "temperature": 0.0}
    pictures = []
    for device in ("cpu", "cuda"):
        read = Prompts([(k.to(device), v.to(device)) for k, v in reads], [], mask.to(device))
        rounds = list(draw(expert.to(device), read, [seeded(1)], **options))
        pictures.append(rounds[-1].cpu())
    assert torch.equal(*pictures)


def test_guidance_one_ignores_the_negative_prompt_and_others_do_not():
    expert = tiny_expert()
    reads, mask = prompt(expert, batch=2)
    other = [(torch.cat([k[:1], k[1:] + 1]), v) for k, v in reads]

    def with_scale(reads, scale):
        options = {"num_inference_steps": 2, "guidance_scale": scale, "temperature": 1.0}
        return list(draw(expert, Prompts(reads, [], mask), [seeded(1)], **options))[-1]

    assert torch.equal(with_scale(reads, 1.0), with_scale(other, 1.0))
    assert not torch.equal(with_scale(reads, 6.0), with_scale(other, 6.0))


def test_codes_are_chosen_by_their_odds():
    scores = torch.log(torch.tensor([[0.1, 0.6, 0.3]])).repeat(20_000, 1)
    uniform = torch.rand(20_000, generator=seeded(0))
    shares = torch.bincount(choose(scores, 1.0, uniform), minlength=3) / 20_000
    # 4 standard errors of a share
    for share, wanted in zip(shares.tolist(), (0.1, 0.6, 0.3), strict=True):
        assert abs(share - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 20_000)
    assert choose(scores[:1], 0, uniform[:1]).tolist() == [1]
    assert choose(scores[:1], 1.0, torch.ones(1)).tolist() == [2]


def test_prompts_are_read_alike_whatever_the_other_ones_length(tiny_image):
    painters = tiny_image.painters()
    short, long = [1, 5, 6], [1, 9, 8, 7, 6, 5]
    alike = read_prompts([short, short], tiny_image.runtime, painters)
    mixed = read_prompts([short, long], tiny_image.runtime, painters)
    assert mixed.mask.sum(1).tolist() == [3, 6]
    for (key, value), (keys, values) in zip(alike.for_expert, mixed.for_expert, strict=True):
        assert torch.allclose(keys[:1, :, :3], key[:1], atol=1e-5)
        assert torch.allclose(values[:1, :, :3], value[:1], atol=1e-5)
    for (key, value), (keys, values) in zip(alike.for_tokenizer, mixed.for_tokenizer, strict=True):
        assert keys.shape[0] == 1  # the prompt alone
        assert torch.allclose(keys[:, :, :3], key, atol=1e-5)
        assert torch.allclose(values[:, :, :3], value, atol=1e-5)


def test_previews_come_every_round_and_a_seed_draws_the_same_again(tiny_image):
    stream = tiny_image.image_stream("a red apple", num_inference_steps=3, seed=5)
    previews = list(stream)
    assert [(p.step, p.num_steps) for p in previews] == [(1, 3), (2, 3), (3, 3)]
    generation = stream.generation
    assert generation.images[0].tobytes() == previews[-1].images[0].tobytes()
    assert generation.finish_reason == "stop"
    assert generation.seeds == (5,)
    again = tiny_image.image("a red apple", num_inference_steps=3, seed=5)
    assert again.images[0].tobytes() == generation.images[0].tobytes()
    plain = tiny_image.image("a red apple", num_inference_steps=3, seed=5, mark="none")
    assert plain.images[0].tobytes() != generation.images[0].tobytes()
    assert plain.marks == ()
    key = tiny_image.keys.current.fingerprint
    assert generation.marks == (f"pixels:{key}", f"codes:{key}")
    other = tiny_image.image("a red apple", num_inference_steps=3, seed=6)
    assert other.images[0].tobytes() != generation.images[0].tobytes()


@pytest.mark.parametrize("file", [AUTOENCODER, PICTURE_TOKENIZER, IMAGE_EXPERT])
def test_a_picture_names_the_weights_of_all_that_drew_it(
    tiny_image, tiny_image_trunk, tiny_weights, tmp_path, file
):
    shutil.copytree(tiny_weights, tmp_path, dirs_exist_ok=True)
    content = load_file(tmp_path / file)
    with safe_open(tmp_path / file, "pt") as opened:
        save_file(content, tmp_path / file, {**opened.metadata(), "minutes": "1"})
    other = mtgen.load(tiny_image_trunk, weights=tmp_path, progress=False)
    names = {
        pipeline.image("a boat", num_inference_steps=1).model for pipeline in (tiny_image, other)
    }
    assert len(names) == 2


def test_without_a_seed_one_is_drawn_and_told(tiny_image):
    first = tiny_image.image("a boat", num_inference_steps=1)
    assert first.request.seed is not None
    again = tiny_image.image(first.request)
    assert again.images[0].tobytes() == first.images[0].tobytes()


def test_stop_ends_the_drawing_after_the_round_that_runs(tiny_image):
    stop = threading.Event()
    stream = tiny_image.image_stream("a boat", num_inference_steps=8, stop=stop)
    next(stream)
    stop.set()
    assert list(stream) == []
    assert stream.generation.finish_reason == "cancelled"
    assert stream.generation.timings.num_steps == 1
    assert len(stream.generation.images) == 1


def test_sizes_and_counts_are_as_asked_for(tiny_image):
    generation = tiny_image.image(
        "a boat", num_images=3, size_px=128, num_inference_steps=1, seed=2**32 - 1
    )
    assert [image.size for image in generation.images] == [(128, 128)] * 3
    assert generation.seeds == (2**32 - 1, 0, 1)


def test_a_style_adds_its_words_in_the_language_of_the_prompt():
    from mtgen.tasks.image import styled

    english = styled(ImageRequest(prompt="a red apple on the table", style="fluent-emoji-3d"))
    assert english == "a red apple on the table, 3D"
    german = styled(ImageRequest(prompt="ein roter Apfel auf dem Tisch", style="fluent-emoji-3d"))
    assert german == "ein roter Apfel auf dem Tisch, in 3D"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"prompt": "  "}, EmptyPromptError, "the prompt is empty"),
        ({"prompt": "a\0b"}, InvalidTextError, "a control character, U+0000".replace("+", r"\+")),
        ({"prompt": "x" * 5000}, PromptTooLongError, "5,000 characters .* up to 500; shorten it"),
        ({"negative_prompt": "x" * 501}, PromptTooLongError, "the negative prompt has 501"),
        ({"style": "cubism"}, UnknownNameError, "no style named 'cubism'"),
        ({"size_px": 512}, SettingError, "size_px must be 128 or 256, got 512"),
        ({"num_inference_steps": 0}, SettingError, "num_inference_steps must be a whole number"),
        ({"num_inference_steps": 10_000}, SettingError, "from 1 to 64, got 10000"),
        ({"guidance_scale": math.nan}, SettingError, "guidance_scale must be a number .* got nan"),
        ({"num_images": 5}, SettingError, "num_images must be a whole number from 1 to 4, got 5"),
        ({"temperature": -1}, SettingError, "temperature must be a number from 0 to 2, got -1"),
        ({"seed": -1}, SettingError, "seed must be a whole number"),
    ],
)
def test_a_bad_request_says_what_would_work(settings, error, message):
    with pytest.raises(error, match=message):
        ImageRequest(**{"prompt": "a boat", **settings})


def test_unknown_settings_are_refused_by_the_pipeline(tiny_image):
    with pytest.raises(SettingError, match="unknown setting: .*num_steps"):
        tiny_image.image("a boat", num_steps=3)
