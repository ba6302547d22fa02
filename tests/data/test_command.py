"""`python -m mtgen.data` as people call it, and one real source of each kind."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from mtgen.data.__main__ import main
from tests.conftest import ROOT
from tests.data.test_parallel import make_store
from tests.data.tiny import needs_dpkg


@pytest.fixture
def command(shell):
    """Runs `python -m mtgen.data ...`."""

    def run(*arguments, **options):
        return shell("-m", "mtgen.data", *arguments, **options)

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["build", "pictures", "--out", "x"], "invalid choice: 'pictures'"),
        (["build", "images"], "the following arguments are required: --out"),
        (["build", "parallel", "--out", "out/x", "--workers", "0"], "--workers is 0"),
        (["build", "images", "--out", "x", "--tatoeba", "y"], "goes with 'build parallel' only"),
        (["build", "images", "--out", "x", "--only", "notto"], "Did you mean 'noto'?"),
        (["check", "nowhere"], "nowhere holds no built set"),
        (["hold-out", "none.txt"], "there is no file none.txt"),
        (["vocabulary", "nowhere", "--out", "x"], "nowhere holds no packed parallel"),
        (["vocabulary", "x", "--out", "x", "--least", "0"], "least must be"),
        (["lock", "left-pad"], "'left-pad' names no package"),
    ],
)
def test_a_bad_request_is_one_sentence_and_exit_code_2(command, arguments, sentence):
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_sources_are_listed_with_rows_size_and_licence(command):
    done = command("sources", "images")
    assert done.returncode == 0
    assert "noto" in done.stdout
    assert "Apache-2.0 (permissive)" in done.stdout
    rows = json.loads(command("sources", "parallel", "--json").stdout)
    assert {"name", "licence", "packages", "expected_rows", "download_mb"} <= set(rows[0])
    assert {row["name"] for row in rows} >= {"wesnoth", "tatoeba", "bible"}


def test_an_incomplete_build_exits_with_3_and_names_what_it_lacks(tmp_path, monkeypatch, capsys):
    store = make_store(tmp_path)
    monkeypatch.setattr("mtgen.data.packages.PackageStore", lambda: store)
    arguments = ["build", "parallel", "--out", str(tmp_path / "out"), "--workers", "1"]
    arguments += ["--only", "django", "--only", "wesnoth"]
    assert main(arguments) == 3
    shown = capsys.readouterr()
    assert "wesnoth is missing; it would have added about" in shown.err
    assert "train.parquet" in shown.out
    assert main([*arguments[:-2], "--json"]) is None
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["complete"]
    assert main(["check", str(tmp_path / "out")]) is None
    assert "parallel: 6 files as in the manifest" in capsys.readouterr().out


@needs_dpkg
@pytest.mark.slow
@pytest.mark.network
def test_one_real_source_of_each_kind_is_built_from_the_indexes(command, tmp_path):
    """npm, PyPI and Debian, each with its own client; takes a minute or two."""
    environment = {"MTGEN_CACHE": str(tmp_path / "cache")}
    pairs = ["django", "knights"]
    wanted = {"images": ["streamline-emojis"], "parallel": pairs, "text": ["fortunes"]}
    for kind, sources in wanted.items():
        chosen = [word for name in sources for word in ("--only", name)]
        done = command("build", kind, "--out", str(tmp_path / "out"), *chosen, "--json",
                       env=environment, timeout=600)  # fmt: skip
        assert done.returncode == 0, done.stderr
        manifest = json.loads(done.stdout)
        assert {source["name"] for source in manifest["sources"]} == set(sources)
        for source in manifest["sources"]:
            assert source["packages"][0]["sha256"]
    assert pq.read_table(tmp_path / "out/images/train-00000-of-00001.parquet").num_rows > 400
    assert command("check", str(tmp_path / "out")).returncode == 0


@pytest.mark.slow
def test_the_example_cleans_a_corpus_in_parts(shell, tmp_path):
    lines = [f"The number {n} bus is late.\tLe bus numéro {n} est en retard." for n in range(20)]
    lines += ["There are 3 apples.\tIl y a 4 pommes.", 'He said "yes.\tIl a dit "oui.']
    (tmp_path / "part-0.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    rows = []
    for number in (0, 1):
        done = shell(
            "examples/clean_corpus.py", tmp_path / "part-*.tsv", "fr", tmp_path / "out", number, 2,
            env={"PYTHONPATH": ".", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        path = tmp_path / f"out/fr-{number:05}-of-00002.parquet"
        rows += pq.read_table(path).to_pylist()
    assert len(rows) == 21
    assert {"en": 'He said "yes.', "translation": 'Il a dit "oui.'} in rows
    assert len((ROOT / "examples/clean_corpus.py").read_text("utf-8").splitlines()) < 35
