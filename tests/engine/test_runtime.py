"""The runtime against `transformers` on tiny models, and against itself with a cache."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mtgen.engine import LlamaRuntime, native
from mtgen.engine.linear import FEW_ROWS, Int4Linear, Int8Head, LowRankUpdate, QuantisedMatrix
from mtgen.errors import ConfigError, CorruptedFileError, SettingError
from tests.conftest import save_tiny

VARIANTS = {
    "tied llama": ("llama", {}),
    "untied llama": ("llama", {"tie_word_embeddings": False}),
    "one head a group": ("llama", {"num_key_value_heads": 4}),
    "other rope": ("llama", {"rope_theta": 100000.0, "head_dim": 32}),
    "qwen2, biased": ("qwen2", {}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_those_of_transformers(tmp_path, name):
    kind, overrides = VARIANTS[name]
    model = save_tiny(tmp_path, kind, **overrides)
    runtime = LlamaRuntime(tmp_path, "float32")
    ids = torch.randint(0, runtime.config.vocab_size, (23,))
    with torch.no_grad():
        wanted = model(ids[None]).logits[0]
    found = runtime.forward(ids, runtime.new_cache(23), all_logits=True)
    assert torch.allclose(found, wanted, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "packed"])
def test_cached_steps_equal_one_pass(tiny_trunk, precision):
    runtime = LlamaRuntime(tiny_trunk, precision)
    ids = torch.randint(0, runtime.config.vocab_size, (40,))
    at_once = runtime.forward(ids, runtime.new_cache(40), all_logits=True)
    cache = runtime.new_cache(40)
    steps = [runtime.forward(part, cache)[-1] for part in ids.split([17, 1, 1, 20, 1])]
    tolerance = 1e-4 if precision == "float32" else 0.15
    wanted = at_once[[16, 17, 18, 38, 39]]
    assert torch.allclose(torch.stack(steps), wanted, atol=tolerance * float(wanted.std()) * 5)
    assert cache.length == 40


def test_a_full_cache_is_an_error(tiny_trunk):
    runtime = LlamaRuntime(tiny_trunk)
    with pytest.raises(ValueError, match="is full"):
        runtime.forward(torch.zeros(5, dtype=torch.long), runtime.new_cache(4))


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_four_bit_products_equal_dense_ones(rows):
    torch.manual_seed(0)
    matrix = QuantisedMatrix(
        {
            "q4": torch.randint(0, 256, (96, 2, 16), dtype=torch.uint8),
            "scale": (torch.rand(96, 2) * 0.1).half(),
            "min": (-torch.rand(96, 2)).half(),
        }
    )
    x = torch.randn(rows, 64).bfloat16()
    wanted = x.float() @ matrix.dense().T
    error = (Int4Linear(matrix)(x).float() - wanted).abs().max() / wanted.abs().max()
    assert error < 0.02


@pytest.mark.parametrize("native", [True, False])
def test_the_vocabulary_head_is_as_exact_as_its_weights(monkeypatch, native):
    if not native:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    torch.manual_seed(0)
    codes = torch.randint(-127, 128, (500, 64))
    codes[:, 0] = 127  # so that the rows' scales come out as they went in
    scale = torch.rand(500, 1) + 0.1
    head = Int8Head(QuantisedMatrix({"weight": codes * scale}))
    assert head.packed == native
    x = torch.randn(3, 64) * torch.tensor([[0.01], [1.0], [50.0]])
    wanted = x @ (codes * scale).T
    error = (head(x) - wanted).abs().amax(1) / wanted.abs().amax(1)
    assert error.max() < 3e-4


@pytest.mark.parametrize("rows", [1, 4, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize(("rank", "columns", "outputs"), [(64, 576, 960), (32, 96, 7), (4, 64, 40)])
def test_a_low_rank_update_is_added_whatever_its_shape(rows, rank, columns, outputs):
    torch.manual_seed(0)
    down, up = torch.randn(rank, columns) / columns**0.5, torch.randn(outputs, rank)
    x, y = torch.randn(rows, columns), torch.randn(rows, outputs)
    wanted = y + x @ down.T @ up.T
    exact = LowRankUpdate(down, up, torch.float32).added(y, x)
    assert torch.allclose(exact, wanted, atol=1e-3)
    update = LowRankUpdate(down, up, torch.bfloat16)
    found = update.added(y.to(torch.bfloat16), x.to(torch.bfloat16)).float()
    assert (found - wanted).norm() < 0.015 * wanted.norm()


def test_an_unknown_precision_is_refused(tiny_trunk):
    with pytest.raises(SettingError, match="precision must be 'packed' or 'float32', got 'int3'"):
        LlamaRuntime(tiny_trunk, "int3")


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | fields), "utf-8")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "gpt2"}, "model_type is 'gpt2'"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "scales its rotary positions"),
        ({"num_attention_heads": 3}, "not divisible by n_kv_head"),
        ({"vocab_size": 11}, "vocab_size=11"),
    ],
)
def test_a_checkpoint_that_cannot_run_says_why(tmp_path, fields, message):
    save_tiny(tmp_path)
    change_config(tmp_path, **fields)
    with pytest.raises(ConfigError, match=message):
        LlamaRuntime(tmp_path)


def test_a_truncated_weight_file_is_one_sentence(tmp_path):
    save_tiny(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptedFileError, match="not a readable safetensors file"):
        LlamaRuntime(tmp_path)


@pytest.mark.skipif(
    "avx2" not in native.cpu_features() or not any(map(shutil.which, native.COMPILERS)),
    reason="no compiler, or no AVX2",
)
def test_our_kernels_run_wherever_they_can(tiny_trunk):
    """Else the tests of the kernels would be skipped where these do not compile."""
    assert LlamaRuntime(tiny_trunk).is_native
