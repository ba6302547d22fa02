"""The image task behind the interface of diffusers."""

import numpy as np
import pytest
import torch

from mtgen.errors import EmptyPromptError, SettingError


@pytest.fixture(scope="module")
def pipe(tiny_image):
    from mtgen.hub.diffusion import ImagePipeline

    pipe = ImagePipeline(tiny_image)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_generator_draws_what_the_seed_draws(pipe, tiny_image):
    options = {"num_inference_steps": 3, "guidance_scale": 2.0}
    image = pipe("a boat", generator=seeded(4), **options).images[0]
    assert image.tobytes() == tiny_image.image("a boat", seed=4, **options).images[0].tobytes()
    (images,) = pipe("a boat", generator=seeded(4), return_dict=False, **options)
    assert images[0].tobytes() == image.tobytes()


def test_several_prompts_and_pictures_and_kinds_of_output(pipe):
    options = {"num_inference_steps": 2, "num_images_per_prompt": 2}
    prompts = ["a boat", "a car"]
    generators = [seeded(n) for n in range(4)]
    pixels = pipe(prompts, "a tree", generator=generators, output_type="pt", **options).images
    assert pixels.shape == (4, 3, 256, 256)
    assert 0 <= pixels.min()
    assert pixels.max() <= 1
    generators = [seeded(n) for n in range(4)]
    array = pipe(prompts, "a tree", generator=generators, output_type="np", **options).images
    assert np.array_equal(array, pixels.permute(0, 2, 3, 1).numpy())
    tokens = pipe(prompts, generator=seeded(1), output_type="latent", **options).images
    assert tokens.shape == (4, 64, 2)


def test_a_callback_sees_every_step_and_can_stop(pipe):
    seen = []

    def callback(pipe, step, left, tensors):
        seen.append((step, left, tuple(tensors["tokens"].shape)))
        pipe._interrupt = step == 1
        return tensors

    images = pipe("a boat", num_inference_steps=5, callback_on_step_end=callback).images
    assert seen == [(0, 4, (1, 64, 2)), (1, 3, (1, 64, 2))]
    assert pipe.interrupt
    assert len(images) == 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"prompt": ""}, EmptyPromptError, "the prompt is empty"),
        ({"num_inference_steps": 0}, SettingError, "num_inference_steps must be"),
        (
            {"output_type": "jpeg"},
            SettingError,
            "output_type must be 'pil', 'np', 'pt' or 'latent'",
        ),
        ({"negative_prompt": ["a", "b"]}, SettingError, "2 negative prompts for 1 prompts"),
        ({"generator": []}, SettingError, "0 generators for 1 pictures"),
        ({"num_images_per_prompt": 0}, SettingError, "num_images_per_prompt must be at least 1"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, SettingError, "'tokens' alone"),
    ],
)
def test_what_cannot_be_drawn_is_said(pipe, settings, error, message):
    with pytest.raises(error, match=message):
        pipe(**{"prompt": "a boat", **settings})


def test_it_loads_from_a_folder(tiny_image_trunk, tiny_weights):
    from mtgen.hub.diffusion import ImagePipeline

    pipe = ImagePipeline.from_pretrained(tiny_weights, trunk=tiny_image_trunk)
    assert pipe.painters.expert.config.num_places == 64
