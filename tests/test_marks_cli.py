"""`verify` and `keys` in the shell: nothing secret is shown, and what is wrong is one sentence."""

from __future__ import annotations

import json
import secrets

import pytest


@pytest.fixture
def keys(shell, tmp_path):
    """The command `keys` with a folder of its own."""

    def call(*arguments, **options):
        env = {"MTGEN_KEYS": str(tmp_path / "keys"), "MTGEN_MARK_KEY": ""}
        return shell("-m", "mtgen", "keys", *arguments, env=env, **options)

    return call


@pytest.mark.slow
def test_a_text_is_verified_from_a_file_an_argument_and_standard_input(shell, tmp_path):
    text = shell(
        "-m", "mtgen", "text", "Hello", "--temperature", 1.5, "--max-new-tokens", 200, "--seed", 2
    ).stdout
    (tmp_path / "a.txt").write_text(text, "utf-8")
    found = [
        json.loads(shell("-m", "mtgen", "verify", *arguments, "--json", **options).stdout)
        for arguments, options in (
            ((tmp_path / "a.txt",), {}), (("--text", text), {}), (("-",), {"input": text}),
        )
    ]  # fmt: skip
    assert [one["verdict"] for one in found] == ["marked"] * 3
    assert len({one["p_value"] for one in found}) == 1
    said = shell("-m", "mtgen", "verify", "--text", "This is what a person wrote.")
    assert said.returncode == 0
    assert "Too little text" in said.stdout or "No watermark found" in said.stdout
    assert "proves nothing" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give a file, '-' for standard input, or --text"),
        (("a.txt", "--text", "x"), "give a file, '-' for standard input, or --text"),
        (("missing.png",), "missing.png cannot be read: no such file or directory"),
        (("--text", "  "), "the text to verify is empty"),
    ],
)
def test_what_cannot_be_verified_is_one_sentence(shell, arguments, sentence):
    done = shell("-m", "mtgen", "verify", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_keys_are_made_rotated_and_never_shown(keys, tmp_path):
    first = json.loads(keys("--json").stdout)["keys"]
    assert [row["marks"] for row in first] == [True]
    later = json.loads(keys("rotate", "--json").stdout)["keys"]
    assert [row["marks"] for row in later] == [True, False]
    assert later[1]["fingerprint"] == first[0]["fingerprint"]
    stored = json.loads((tmp_path / "keys" / "mark-keys.json").read_text())["keys"]
    shown = keys().stdout + keys("--json").stdout
    assert not any(row["key"] in shown for row in stored)


def test_another_hosts_key_is_read_from_standard_input(keys):
    keys()
    secret = secrets.token_hex(32)
    done = keys("add", "--host", "a friend", input=secret)
    assert done.returncode == 0, done.stderr
    assert secret not in done.stdout
    assert "verifies  a friend" in done.stdout
    assert "marks and verifies" in done.stdout
    for arguments, text, sentence in (
        (("add",), secret, "--host NAME goes with 'add'"),
        (("rotate", "--host", "x"), "", "--host NAME goes with 'add'"),
        (("add", "--host", ""), secret, "--host NAME goes with 'add'"),
        (("add", "--host", "another"), secret, "is there already, as that of a friend"),
        (("add", "--host", "x"), "abc", "standard input does not hold a key"),
    ):
        done = keys(*arguments, input=text)
        assert done.returncode == 2 if "--host NAME" in sentence else done.returncode != 0
        assert sentence in done.stderr
        assert "abc" not in done.stderr


@pytest.mark.slow
def test_the_example_runs(shell, trunk_folder):
    env = {"MTGEN_TRUNK": str(trunk_folder), "PYTHONPATH": "."}
    done = shell("examples/verify.py", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Watermark found") == 1
    assert done.stdout.count("No watermark found") == 1
