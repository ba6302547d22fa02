"""Which tokens translations into a language need."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel

from mtgen.data.__main__ import main
from mtgen.data.pack import pack
from mtgen.data.vocabulary import NAME
from mtgen.errors import BadRequestError, SettingError
from tests.conftest import save_tiny

PAIRS = {
    "de": ["der Hund", "der Hund und der Vogel", "Xylophon", "der Hund"],
    "fr": ["le chien", "le chien"],
}


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A folder of packed pairs, and the tokenizer they are packed with."""
    save_tiny(tmp_path / "trunk")
    monkeypatch.setenv("MTGEN_TRUNK", str(tmp_path / "trunk"))
    rows = [
        {"tgt_lang": lang, "en": "the dog", "translation": text, "gender": None, "source": "made",
         "weight": 1.0}
        for lang, texts in PAIRS.items() for text in texts
    ]  # fmt: skip
    for lang in PAIRS:
        folder = tmp_path / "built" / "parallel" / lang
        folder.mkdir(parents=True)
        some = pa.Table.from_pylist([row for row in rows if row["tgt_lang"] == lang])
        pq.write_table(some, folder / "train.parquet")
    pack("parallel", tmp_path / "built", tmp_path / "pack", seed=0)
    return tmp_path / "pack", Tokenizer.from_file(str(tmp_path / "trunk/tokenizer.json"))


def test_a_list_has_what_stands_in_translations_often_enough(packed, tmp_path, capsys, monkeypatch):
    folder, tokenizer = packed
    with pytest.raises(SettingError, match="needs 60% of the 319 tokens or more"):
        main(["vocabulary", str(folder), "--out", str(tmp_path / "x")])
    monkeypatch.setattr("mtgen.data.vocabulary.MOST_SHARE", 1.0)
    out = tmp_path / "made" / "lists.safetensors"
    assert main(["vocabulary", str(folder), "--out", str(out)]) is None
    lists = load_file(out)
    assert set(lists) == {"de", "fr"}
    often = set(tokenizer.encode("der Hund", add_special_tokens=False).ids)
    assert often <= set(lists["de"].tolist())
    spelt = {tokenizer.token_to_id(byte) for byte in ByteLevel.alphabet()}
    names = {token for text, token in tokenizer.get_vocab().items() if NAME.fullmatch(text)}
    assert set(lists["de"].tolist()) == often | spelt - {None} | names, "anything can be spelt"
    assert list(lists["de"]) == sorted(lists["de"])
    assert f"de: {len(lists['de'])} tokens" in capsys.readouterr().out
    main(["vocabulary", str(folder), "--out", str(out), "--least", "1"])
    rare = set(tokenizer.encode("und", add_special_tokens=False).ids)
    assert often | rare <= set(load_file(out)["de"].tolist())


def test_a_pack_for_another_trunk_is_refused(packed, tmp_path, monkeypatch):
    notes = packed[0] / "pack.json"
    manifest = json.loads(notes.read_text())
    manifest["parallel"]["tokenizer_sha256"] = "0" * 64
    notes.write_text(json.dumps(manifest))
    with pytest.raises(BadRequestError, match="packed with another tokenizer"):
        main(["vocabulary", str(packed[0]), "--out", str(tmp_path / "x")])
