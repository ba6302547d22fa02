"""Pictures to codes and back."""

import dataclasses

import pytest
import torch

from mtgen.errors import CacheWriteError, ConfigError, CorruptedFileError, WeightsNotFoundError
from mtgen.model.autoencoder import CODEBOOK_SIZE, Autoencoder, AutoencoderConfig
from mtgen.model.checkpoint import load_autoencoder, read_weights, save_weights
from mtgen.model.files import AUTOENCODER

TINY = AutoencoderConfig(
    num_codes=2,
    channels=(8, 8, 16),
    encoder_blocks=(1, 1, 1),
    decoder_blocks=(1, 1, 1),
    last_channels=8,
)


def tiny_autoencoder(config=TINY):
    torch.manual_seed(0)
    return Autoencoder(config)


def test_every_code_stands_for_its_own_levels_and_back():
    codes = torch.arange(CODEBOOK_SIZE, dtype=torch.uint8).view(1, 16, 16, 1)
    levels = Autoencoder.to_levels(codes)
    assert levels.shape == (1, 4, 16, 16)
    assert sorted(levels.unique().tolist()) == [-1.5, -0.5, 0.5, 1.5]
    assert len(levels.permute(0, 2, 3, 1).reshape(256, 4).unique(dim=0)) == CODEBOOK_SIZE
    assert torch.equal(Autoencoder.to_codes(levels), codes)


def test_latents_are_rounded_to_the_nearest_level_and_gradients_pass():
    latents = torch.tensor([-1.99, -0.9, -0.2, 0.01, 0.7, 1.2, 1.99]).view(1, 7, 1, 1)
    latents.requires_grad_()
    levels = Autoencoder.quantise(latents)
    assert levels.flatten().tolist() == [-1.5, -0.5, -0.5, 0.5, 0.5, 1.5, 1.5]
    levels.sum().backward()
    assert latents.grad.flatten().tolist() == [1.0] * 7


def test_a_picture_becomes_a_grid_of_cells_and_a_picture_again():
    model = tiny_autoencoder()
    assert model.config.cell_px == 16
    codes = model.encode(torch.rand(2, 3, 64, 48) * 2 - 1)
    assert codes.shape == (2, 4, 3, 2)
    assert codes.dtype == torch.uint8
    pixels = model.decode(codes)
    assert pixels.shape == (2, 3, 64, 48)
    assert pixels.abs().max() <= 1


def test_weights_come_back_as_they_were_in_bf16(tmp_path):
    model = tiny_autoencoder()
    save_weights(tmp_path / AUTOENCODER, model, TINY, minutes="0")
    loaded = load_autoencoder(tmp_path / AUTOENCODER)
    assert loaded.config == TINY
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.bfloat16().float())
    assert read_weights(tmp_path / AUTOENCODER, AutoencoderConfig)[2]["minutes"] == "0"


def test_missing_cut_off_and_foreign_weights_are_named(tmp_path):
    path = tmp_path / AUTOENCODER
    with pytest.raises(WeightsNotFoundError, match="are missing; they come with the repository"):
        load_autoencoder(path)
    save_weights(path, tiny_autoencoder(), TINY)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptedFileError, match="are damaged or of another kind"):
        load_autoencoder(path)
    save_weights(path, torch.nn.Linear(2, 2), TINY)
    with pytest.raises(CorruptedFileError, match="do not fit their config"):
        load_autoencoder(path)


def test_weights_that_cannot_be_written_are_one_sentence_and_the_old_ones_stay(tmp_path):
    model, path = Autoencoder(TINY), tmp_path / "a.safetensors"
    save_weights(path, model, TINY)
    before = path.read_bytes()
    (tmp_path / "a.safetensors.part").mkdir()
    with pytest.raises(CacheWriteError, match="cannot be written .* make room there or choose"):
        save_weights(path, model, TINY)
    assert path.read_bytes() == before
    with pytest.raises(CacheWriteError):
        save_weights(path / "b.safetensors", model, TINY)


def test_a_config_that_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="they need as many"):
        dataclasses.replace(TINY, decoder_blocks=(1, 1))
    with pytest.raises(ConfigError, match="at least one code"):
        dataclasses.replace(TINY, num_codes=0)
