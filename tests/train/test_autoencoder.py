"""Training of the autoencoder on tiny pictures."""

import json

import numpy as np
import pytest
import torch

from mtgen.errors import BadRequestError, SettingError
from mtgen.model.autoencoder import Autoencoder
from mtgen.model.checkpoint import load_autoencoder
from mtgen.model.files import AUTOENCODER
from mtgen.train.autoencoder import (
    METRICS,
    STATE,
    AutoencoderTrainer,
    AutoencoderTraining,
    crops,
    distorted,
    evaluate,
    main,
    through_half,
    through_jpeg,
    to_bytes,
    to_unit,
)
from tests.model.test_autoencoder import TINY
from tests.train.test_trainer import packed  # noqa: F401

CPU = torch.device("cpu")


def pictures(count, side=64):
    """Discs on plain backgrounds."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    made = []
    for _ in range(count):
        back, front = rng.integers(0, 256, (2, 3))
        disc = (rows - side // 2) ** 2 + (columns - side // 2) ** 2 < (side // 3) ** 2
        made.append(np.where(disc[..., None], front, back))
    return torch.from_numpy(np.stack(made).astype(np.uint8)).permute(0, 3, 1, 2)


def trainer(folder, *, minutes=1.0, start=None, **settings):
    folder.mkdir(exist_ok=True)
    training = AutoencoderTraining(**settings)
    return AutoencoderTrainer(folder, TINY, training, minutes, CPU, start)


def test_pixels_survive_the_way_to_the_model_and_back():
    pixels = pictures(2)
    assert torch.equal(to_bytes(to_unit(pixels)), pixels)
    array = pixels[0].permute(1, 2, 0).numpy()
    assert np.abs(through_jpeg(array, 95).astype(int) - array).mean() < 8
    assert through_half(array).shape == array.shape


def test_the_richer_crop_is_taken():
    pixels = torch.zeros(200, 3, 64, 64, dtype=torch.uint8)
    pixels[:, :, :16, :16] = 255
    rich = crops(pixels, 32, torch.Generator().manual_seed(0))
    assert rich.shape == (200, 3, 32, 32)
    share = (rich.flatten(1) > 0).any(1).float()
    # a crop holds some of the corner with chance (16 / 33)^2 = 0.235, the better of two with 0.415
    assert 0.3 < share.mean() < 0.53
    assert crops(pixels, 64, torch.Generator()) is pixels


def test_distortions_change_pictures_a_little():
    x = to_unit(pictures(8))
    changed = distorted(x, np.random.default_rng(0))
    error = (changed - x).abs().mean((1, 2, 3))
    assert changed.shape == x.shape
    assert (error < 0.2).all()
    assert (error > 0).sum() >= 4


def test_scores_are_those_of_the_definition():
    torch.manual_seed(0)
    model = Autoencoder(TINY)
    pixels = pictures(3)
    scores = evaluate(model, pixels, batch=2)
    decoded = to_bytes(model.decode(model.encode(to_unit(pixels))))
    squared = ((decoded.double() - pixels.double()) ** 2).mean((1, 2, 3))
    expected = (20 * torch.log10(torch.tensor(255.0)) - 10 * torch.log10(squared)).tolist()
    assert scores["psnrs"] == pytest.approx(expected, abs=1e-3)
    assert 0 <= scores["same_after_jpeg50"] <= 1
    assert scores["same_codes"] <= 1


def test_it_learns_and_the_decoder_alone_too(tmp_path):
    run = trainer(tmp_path / "a", lr=3e-3, again_from=0.0)
    first, parts = run.loss(pictures(8), 0.5)
    assert "again" in parts
    for _ in range(80):
        loss, _ = run.loss(pictures(8), 0.5)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.step += 1
    assert loss.item() < 0.6 * first.item()
    alone = trainer(tmp_path / "b", start=run.model.state_dict(), decoder_only=True, again_from=0.0)
    alone.loss(pictures(8), 0.5)[0].backward()
    assert all(p.grad is None for p in alone.model.encoder.parameters())
    assert all(p.grad is not None for p in alone.model.decoder.parameters())


def test_the_rate_rises_stays_and_falls(tmp_path):
    run = trainer(tmp_path, lr=1.0, warmup=0.1, decay=0.5)
    assert run.rate(0) < 0.01
    assert run.rate(0.3) == 1
    assert run.rate(0.75) == pytest.approx(0.5)
    assert run.rate(1) == pytest.approx(0)


@pytest.mark.slow
def test_the_command_trains_exports_and_goes_on(packed, tmp_path, capsys):  # noqa: F811
    arguments = [
        "--pack", packed, "--out", tmp_path, "--size-px", "64", "--crop-px", "32", "--workers", "0",
        "--num-codes", "2", "--batch", "2", "--cpu", "--json",
    ]  # fmt: skip
    main([*map(str, arguments), "--minutes", "0.03"])
    first = json.loads(capsys.readouterr().out)
    assert first["step"] > 0
    assert load_autoencoder(tmp_path / AUTOENCODER).config.num_codes == 2
    assert (tmp_path / STATE).is_file()
    assert (tmp_path / METRICS).is_file()
    main([*map(str, arguments), "--minutes", "0.06"])
    assert json.loads(capsys.readouterr().out)["step"] > first["step"]


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(SettingError, match="batch must be at least 1, got 0"):
        AutoencoderTraining(batch=0)
    with pytest.raises(SettingError, match="decay must be from 0 to 1, got 2"):
        AutoencoderTraining(decay=2.0)
    with pytest.raises(BadRequestError, match="minutes must be a number above 0"):
        main(["--minutes", "0", "--out", str(tmp_path)])
