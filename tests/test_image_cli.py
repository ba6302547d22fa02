"""`python -m mtgen image`: files with their settings, the --json contract, one sentence each."""

from __future__ import annotations

import json
import resource
import shutil

import pytest
from PIL import Image

from mtgen.__main__ import main
from mtgen.cli import run
from mtgen.png import PictureSettings, read_settings, save_picture
from mtgen.requests import ImageRequest
from tests.conftest import ROOT


@pytest.fixture
def draw(shell, tiny_image_trunk, tiny_weights, tmp_path):
    """Draws in a folder of its own, with the tiny expert."""

    def call(*arguments: object, **options):
        models = "--trunk", tiny_image_trunk, "--weights", tiny_weights
        flags = [flag for pair in zip(models[::2], models[1::2], strict=True) for flag in pair]
        if "--weights" in arguments:
            flags = flags[:2]
        env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return shell("-m", "mtgen", "image", *arguments, *flags, env=env, cwd=tmp_path, **options)

    return call


@pytest.mark.slow
def test_a_picture_is_written_with_its_settings_and_repeats_from_them(draw, tmp_path):
    flags = "--seed", 5, "--steps", 3, "--style", "noto", "--negative", "cats", "--size", 128
    done = draw("drei grüne Äpfel", *flags, "--guidance", 2, "--temperature", 0.5, "-o", "out.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.png\n"
    assert "1 picture in" in done.stderr
    assert "seed 5" in done.stderr
    request = read_settings(tmp_path / "out.png").request
    assert request == ImageRequest(
        prompt="drei grüne Äpfel", negative_prompt="cats", style="noto", size_px=128,
        num_inference_steps=3, guidance_scale=2, temperature=0.5, seed=5,
    )  # fmt: skip
    again = draw("--from", "out.png", "-o", "again.png")
    assert again.returncode == 0, again.stderr
    first, second = (tmp_path / name for name in ("out.png", "again.png"))
    assert read_settings(first) == read_settings(second)
    assert Image.open(first).tobytes() == Image.open(second).tobytes()


@pytest.mark.parametrize("name", ["out.png", "out.jpg"])
@pytest.mark.slow
def test_files_carry_content_credentials_that_verify_finds(draw, shell, tmp_path, name):
    assert draw("a dog", "--steps", 2, "--seed", 3, "-o", name).returncode == 0
    done = shell("-m", "mtgen", "verify", tmp_path / name, "--json")
    found = json.loads(done.stdout)
    assert found["verdict"] == "marked", done.stdout
    assert found["credentials"]["machine_made"]
    assert found["credentials"]["settings"]["request"]["seed"] == 3
    assert (found["settings"] is None) == (name == "out.jpg")


def test_several_pictures_are_numbered_and_json_is_one_object(draw, tmp_path):
    done = draw("a dog", "--num-images", 2, "--steps", 2, "-o", "out.png", "--json")
    record = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert record["files"] == ["out-1.png", "out-2.png"]
    seeds = [read_settings(tmp_path / name).request.seed for name in record["files"]]
    assert seeds == record["seeds"] == [record["request"]["seed"], record["request"]["seed"] + 1]


@pytest.mark.slow
def test_without_a_name_it_is_made_of_prompt_and_seed_and_replaces_nothing(draw, tmp_path):
    for _ in range(2):
        assert draw("-", "--seed", 1, "--steps", 1, input="a dog").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a-dog-1.png", "a-dog-1-2.png"}
    (tmp_path / "folder").mkdir()
    assert draw("a dog", "--seed", 1, "--steps", 1, "-o", "folder").returncode == 0
    assert (tmp_path / "folder" / "a-dog-1.png").is_file()


@pytest.mark.slow
def test_settings_given_beside_a_picture_win(draw, tmp_path):
    draw("a dog", "--seed", 1, "--steps", 2, "-o", "a.png")
    done = draw("a cat", "--from", "a.png", "--seed", 9, "--json")
    request = json.loads(done.stdout)["request"]
    assert (request["prompt"], request["seed"], request["num_inference_steps"]) == ("a cat", 9, 2)


def test_a_picture_of_another_model_is_drawn_with_a_note(draw, tmp_path):
    settings = PictureSettings(
        request=ImageRequest(prompt="x", seed=1, num_inference_steps=1), model="big"
    )
    save_picture(tmp_path / "a.png", Image.new("RGB", (8, 8)), settings)
    done = draw("--from", "a.png")
    assert done.returncode == 0
    assert "note: a.png was drawn by big and this by" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a prompt, or --from with a picture to draw again"),
        ([""], "the prompt is empty"),
        (["apple " * 1000], "the prompt has 6,000 characters and a picture is described in up to"),
        (["x", "--negative", "y" * 501], "the negative prompt has 501 characters"),
        (["x", "--style", "oil"], "no style named 'oil'"),
        (["x", "--style", "notto"], "Did you mean 'noto'?"),
        (["x", "--size", "512"], "size_px must be 128 or 256, got 512"),
        (["x", "--steps", "0"], "num_inference_steps must be a whole number from 1 to 64, got 0"),
        (["x", "--steps", "10000"], "num_inference_steps must be a whole number from 1 to 64"),
        (["x", "--guidance", "nan"], "guidance_scale must be a number from 0 to 20, got nan"),
        (["x", "--temperature", "-1"], "temperature must be a number from 0 to 2"),
        (["x", "--num-images", "5"], "num_images must be a whole number from 1 to 4"),
        (["x", "--seed", "-1"], "seed must be a whole number from 0"),
        (["x", "-o", "x.bmp"], "x.bmp must end in .png, .jpg, .jpeg"),
        (["x", "-o", "no/x.png"], "cannot write to no: there is no such folder; make it first"),
        (["--from", "none.png"], "none.png cannot be read: no such file or directory"),
        (["--from", "photo.jpg"], "photo.jpg is a JPEG file; only PNG files"),
        (["--from", "other.png"], "other.png carries no settings of mtgen"),
        (["--from", "sheet.png"], "sheet.png is a sheet of 2 pictures; name one by --seed"),
    ],
)
def test_a_bad_request_is_one_sentence_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, sentence
):
    picture = Image.new("RGB", (8, 8))
    picture.save(tmp_path / "photo.jpg")
    picture.save(tmp_path / "other.png")
    settings = PictureSettings(
        request=ImageRequest(prompt="x", seed=1), model="m", seeds=(1, 2), guidance_scales=(3.0,)
    )
    save_picture(tmp_path / "sheet.png", picture, settings)
    monkeypatch.chdir(tmp_path)
    assert run(main, ["image", *arguments]) == 2
    out, errors = capsys.readouterr()
    assert sentence in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert out == ""


@pytest.mark.slow
def test_missing_and_truncated_weights_are_one_sentence(draw, tiny_weights, tmp_path):
    done = draw("x", "--weights", tmp_path)
    assert done.returncode == 1
    assert "autoencoder.safetensors are missing" in done.stderr
    broken = shutil.copytree(tiny_weights, tmp_path / "broken")
    path = broken / "image_expert.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    done = draw("x", "--weights", broken)
    assert done.returncode == 1
    assert "are damaged or of another kind" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(draw, tmp_path):
    def full() -> None:  # no file may grow beyond 1 kB
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = draw("x", "--steps", 1, "-o", "out.png", preexec_fn=full)
    assert done.returncode == 1
    assert f"error: cannot write to {tmp_path}: File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
