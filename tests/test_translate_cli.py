"""`python -m mtgen translate`: texts, standard input, files, --json, one sentence each."""

from __future__ import annotations

import json

import pytest

from mtgen.__main__ import main
from mtgen.cli import run
from tests.conftest import ROOT

SRT = """1
00:00:01,000 --> 00:00:02,500
The cat sleeps.

2
00:00:03,000 --> 00:00:04,000
Where is <i>the dog</i>?
"""


@pytest.fixture
def translate(shell, tiny_trunk, tiny_translation_weights, tmp_path):
    """Translates in a folder of its own, with the tiny expert."""

    def call(*arguments: object, **options):
        models = "--trunk", tiny_trunk, "--weights", tiny_translation_weights
        env = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return shell(
            "-m", "mtgen", "translate", *arguments, *models, env=env, cwd=tmp_path, **options
        )

    return call


@pytest.mark.slow
def test_a_text_from_the_command_line_and_from_standard_input(translate):
    done = translate("The cat sleeps at 9:40.", "--from", "en", "--to", "fr", "--beams", 2)
    assert done.returncode == 0, done.stderr
    assert "9:40" in done.stdout
    typed = translate("-", "--from", "en", "--to", "fr", "--beams", 2,
                      input="The cat sleeps at 9:40.")  # fmt: skip
    assert typed.stdout == done.stdout


def test_json_is_one_object_with_all_that_repeats_it(translate):
    done = translate("Le chat dort sur le canapé du salon.", "--to", "de", "--alternatives", 2,
                     "--temperature", 0.8, "--seed", 4, "--json")  # fmt: skip
    record = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert record["request"]["source"] == "fr"
    assert record["request"]["seed"] == 4
    assert record["via"] == "en"
    assert "found out" in done.stderr
    assert "by way of English" in done.stderr


@pytest.mark.slow
def test_a_file_comes_back_as_the_same_kind(translate, tmp_path):
    (tmp_path / "film.srt").write_text(SRT, "utf-8")
    (tmp_path / "terms.csv").write_text("cat,Mieze\n", "utf-8")
    flags = "--file", "film.srt", "--from", "en", "--to", "de", "--beams", 1
    done = translate(*flags, "--glossary", "terms.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "film.de.srt\n"
    lines = (tmp_path / "film.de.srt").read_text("utf-8").splitlines()
    assert lines[:2] == SRT.splitlines()[:2]
    assert "Mieze" in lines[2]
    assert lines[6].count("<i>") == lines[6].count("</i>") == 1
    again = translate(*flags)
    assert again.returncode == 2
    assert "film.de.srt is there already; name another file with -o" in again.stderr
    assert translate(*flags, "-o", "other.srt").returncode == 0
    assert (tmp_path / "other.srt").is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--to", "fr"], "give a text, '-' for standard input, or --file with a file"),
        (["hi", "--file", "a.txt", "--to", "fr"], "give a text, '-' for standard input, or"),
        (["hello there", "--to", "it"], "no target language named 'it'"),
        (["hello there", "--to", "fr", "--from", "fr"], "both French"),
        (["hello there", "--to", "fr", "--beams", "99"], "num_beams must be"),
        (["--file", "missing.txt", "--to", "fr"], "missing.txt cannot be read"),
        (["hello there", "--to", "fr", "--glossary", "no.csv"], "no.csv cannot be read"),
    ],
)
def test_bad_requests_are_one_sentence(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(main, ["translate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert captured.err.count("\n") == 1


def test_files_that_are_not_what_they_say_are_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.docx").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "a.xyz").write_text("Hello")
    (tmp_path / "a.csv").write_text("one,two\nHello there,Good day\n")
    for name, sentence in (
        ("a.docx", "a.docx"),
        ("a.xyz", "type that cannot"),
        ("a.csv", "column"),
    ):
        assert run(main, ["translate", "--file", name, "--to", "fr"]) == 2
        captured = capsys.readouterr()
        assert sentence in captured.err
        assert captured.err.count("\n") == 1
