"""The exported trunk: what `transformers` loads is what our runtime runs."""

from __future__ import annotations

import json

import pytest
import torch

import mtgen
from mtgen.errors import BadRequestError
from mtgen.model.export import export
from tests.conftest import save_tiny

TEXT = "The mill stood at the end of the lane, 12 miles from town."


def logits_of(folder, ids):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0].float(), model


def ours(pipeline, ids):
    cache = pipeline.runtime.new_cache(len(ids))
    return pipeline.runtime.forward(torch.tensor(ids), cache, all_logits=True)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_gives_the_same_logits_and_tokens(tied, tmp_path, offline):
    from transformers import AutoTokenizer

    save_tiny(tmp_path / "trunk", tie_word_embeddings=tied)
    files = export(tmp_path / "trunk", tmp_path / "out")
    assert {file.name for file in files} >= {"config.json", "model.safetensors", "tokenizer.json"}
    pipeline = mtgen.load(tmp_path / "trunk", precision="float32", progress=False)
    ids = pipeline.tokenizer.encode(TEXT)
    theirs, _ = logits_of(tmp_path / "out", ids)
    assert theirs.numpy() == pytest.approx(ours(pipeline, ids).numpy(), abs=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    assert tokenizer.encode(TEXT, add_special_tokens=False) == ids
    assert tokenizer.chat_template


def test_half_the_size_in_bfloat16(tiny_trunk, tmp_path):
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        export(tiny_trunk, tmp_path / dtype, dtype)
        sizes[dtype] = (tmp_path / dtype / "model.safetensors").stat().st_size
    assert 1.8 < sizes["float32"] / sizes["bfloat16"] < 2.2
    assert logits_of(tmp_path / "bfloat16", [1, 2, 3])[1].dtype == torch.bfloat16


def test_a_folder_with_something_in_it_is_left_alone(tiny_trunk, tmp_path):
    (tmp_path / "mine.txt").write_text("keep", "utf-8")
    with pytest.raises(BadRequestError, match="is not an empty folder; name a new one"):
        export(tiny_trunk, tmp_path)


@pytest.mark.slow
def test_the_shell_exports(shell, tmp_path):
    done = shell("-m", "mtgen", "export", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "out" / "config.json") in json.loads(done.stdout)["files"]
    again = shell("-m", "mtgen", "export", tmp_path / "out")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
def test_the_real_trunk_gives_the_same_logits(trunk_folder, real_float32, tmp_path, offline):
    export(trunk_folder, tmp_path / "out")
    ids = real_float32.tokenizer.encode(TEXT)
    theirs, _ = logits_of(tmp_path / "out", ids)
    assert theirs.numpy() == pytest.approx(ours(real_float32, ids).numpy(), abs=1e-3)
