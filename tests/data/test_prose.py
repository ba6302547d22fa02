from __future__ import annotations

import gzip

import pyarrow.parquet as pq
import pytest

from mtgen.data.build import BuildOptions
from mtgen.data.check import LeakError, check
from mtgen.data.check import text as check_text
from mtgen.data.pack import pack
from mtgen.data.packed import Packed, PackedTokens
from mtgen.data.prose.build import (
    MAX_WORDS,
    OFFENSIVE_WORDS,
    TARGET_WORDS,
    build,
    cut,
    fortunes,
    gcide,
    joined,
    running,
    wordnet,
)
from mtgen.errors import BadRequestError
from tests.conftest import save_tiny
from tests.data.tiny import NAUGHTY, needs_dpkg, tiny_store, write_archive

pytestmark = needs_dpkg

SENTENCE = {
    "en": "On page {n} the gardener waters the small trees behind the house every evening.",
    "fr": "À la page {n}, le jardinier arrose chaque soir les petits arbres derrière la maison.",
    "de": "Auf Seite {n} gießt der Gärtner jeden Abend die kleinen Bäume hinter dem Haus.",
    "es": "En la página {n} el jardinero riega cada tarde los arbolitos detrás de la casa.",
}


def page(lang, number):
    lines = [
        SENTENCE[lang].format(n=number * 100 + line)
        + " " + " ".join(f"{word}{number}x{line}" for word in ("oak", "elm", "fir"))
        + "."
        for line in range(3)
    ]  # fmt: skip
    return "<html><body><h1>Title</h1><p>" + "</p><p>".join(lines) + "</p><p>Menu</p></body></html>"


@pytest.fixture(scope="module")
def prose(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prose")
    handbook = {
        f"usr/share/doc/debian-handbook/html/{place}/p{number}.html": page(lang, number)
        for lang, place in {"en": "en-US", "fr": "fr-FR", "de": "de-DE", "es": "es-ES"}.items()
        for number in range(40)
    }
    store = tiny_store(
        folder / "packages",
        {
            OFFENSIVE_WORDS: NAUGHTY,
            "deb:debian-handbook": handbook,
            "deb:fortunes": {
                "usr/share/games/fortunes/cookie": "Gadzooks, "
                + SENTENCE["en"].format(n="one")
                + "\n%\nshort one\n%\n"
                + SENTENCE["en"].format(n="the last")
                + "\n\t\t-- A. Uthor\n%\n",
            },
        },
    )
    options = BuildOptions(
        out=folder / "out", only=["debian-handbook", "fortunes"], workers=1, progress=False
    )
    return folder / "out", *build(options, store)


def test_prose_is_joined_filtered_and_split_by_document(prose):
    out, manifest, missing = prose
    assert not missing
    counts = {source["name"]: source["counts"] for source in manifest["sources"]}
    assert counts["fortunes"]["en"] == {"read": 3, "offensive": 1, "short": 1, "kept": 1}
    found = {}
    for lang in SENTENCE:
        for split in ("train", "calibration"):
            table = pq.read_table(out / "text" / lang / f"{split}.parquet")
            found[lang, split] = table.to_pylist()
            assert all(row["lang"] == lang for row in table.to_pylist())
    handbook = [row for row in found["en", "train"] if row["source"] == "debian-handbook"]
    assert all("Title" not in row["text"] and "Menu" not in row["text"] for row in handbook)
    names = {
        split: {row["document"] for row in found["fr", split]} for split in ("train", "calibration")
    }
    assert names["calibration"]
    assert not names["train"] & names["calibration"]
    # a document is in the same split in all languages
    german = {
        split: {row["document"] for row in found["de", split]} for split in ("train", "calibration")
    }
    assert not german["train"] & names["calibration"]
    assert not german["calibration"] & names["train"]
    assert "no document" in check(out)["sets"]["text"]
    fortune = next(row for rows in found.values() for row in rows if row["source"] == "fortunes")
    assert "Uthor" not in fortune["text"]


def test_a_document_in_both_splits_is_a_leak(prose, tmp_path):
    source = pq.read_table(prose[0] / "text/en/calibration.parquet")
    for split in ("train", "calibration"):
        (tmp_path / "en").mkdir(exist_ok=True)
        pq.write_table(source, tmp_path / "en" / f"{split}.parquet")
    with pytest.raises(LeakError, match="a document is in training and in calibration"):
        check_text(tmp_path)


def test_text_is_packed_as_tokens_of_the_trunk(prose, tmp_path, monkeypatch):
    from tokenizers import Tokenizer

    save_tiny(tmp_path / "trunk")
    monkeypatch.setenv("MTGEN_TRUNK", str(tmp_path / "trunk"))
    manifest = pack("text", prose[0], tmp_path / "pack", seed=1)
    assert manifest == pack("text", prose[0], tmp_path / "again", seed=1)
    packed = Packed(tmp_path / "pack", "text")
    tokens = PackedTokens(packed, "tokens")
    assert len(tokens) == manifest["rows"] == len(packed)
    tokenizer = Tokenizer.from_file(str(tmp_path / "trunk/tokenizer.json"))
    texts = {tokenizer.decode(tokens[row].tolist()) for row in range(len(tokens))}
    wanted = {
        row["text"]
        for lang in SENTENCE
        for row in pq.read_table(prose[0] / "text" / lang / "train.parquet").to_pylist()
    }
    assert texts == wanted
    assert tokens.lengths.sum() == sum(len(tokens[row]) for row in range(len(tokens)))
    assert tokens[0].dtype == "uint16"
    assert packed.numpy("weight").min() > 0
    assert set(packed.column("lang")) == set(SENTENCE)
    with pytest.raises(IndexError, match="row"):
        tokens[len(tokens)]


def test_packing_what_was_not_built_says_what_to_do(tmp_path):
    with pytest.raises(BadRequestError, match="holds no training data; 'build text --out"):
        pack("text", tmp_path, tmp_path / "pack")


def test_passages_are_closed_at_their_target_and_cut_at_their_limit():
    texts = ["word " * 50 + "end."] * 5
    passages = list(joined("en", "d", texts))
    assert [len(passage.text.split()) for passage in passages] == [153, 102]
    long = " ".join(f"Sentence number {n} is here to stay and to be read." for n in range(60))
    pieces = cut(long)
    assert all(TARGET_WORDS / 4 < len(piece.split()) <= MAX_WORDS for piece in pieces)
    assert " ".join(pieces) == long
    assert running("This is a sentence of words.")
    assert not running("File menu")
    assert not running("One two three four five six seven")


def test_dictionaries_give_definitions(tmp_path):
    wn = '00001 04 n 01 follow-through 0 001 @ 002 n 0000 | the act of going on; "he did"\n'
    path = write_archive(tmp_path / "w.deb", {"usr/share/wordnet/data.noun": "  1 licence\n" + wn})
    [passage] = wordnet({"deb:w": path})
    assert passage.text == 'follow-through: the act of going on; "he did"'
    entry = (
        "Oar \\Oar\\, n. [AS. [=a]r; akin to\n   Icel. [=a]r.]\n   1. A long implement for moving "
        "a boat by hand. [1913\n      Webster]\n\nZip \\Zip\\, v.\n   [Obs.]\n"
    )
    packed = gzip.compress(entry.encode())
    path = write_archive(tmp_path / "g.deb", {"usr/share/dictd/gcide.dict.dz": packed})
    [passage] = gcide({"deb:g": path})
    assert passage.text == "1. A long implement for moving a boat by hand."
    path = write_archive(tmp_path / "f.deb", {"usr/share/games/fortunes/art": "One.\n%\na\tb\n%\n"})
    assert [passage.text for passage in fortunes({"deb:f": path})] == ["One."]
