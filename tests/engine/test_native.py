"""Our own kernels against torch, against themselves in other company, and where they cannot be."""

from __future__ import annotations

import subprocess
import tempfile

import numpy as np
import pytest
import torch

from mtgen.engine import LlamaRuntime, native
from mtgen.engine.linear import GROUP, LowRankUpdate, QuantisedMatrix
from mtgen.model import beam, sampling
from tests.conftest import save_tiny

pytestmark = pytest.mark.skipif(native.library() is None, reason="no compiler, or no AVX2")

VARIANTS = {
    "tied llama": ("llama", {}),
    "untied llama": ("llama", {"tie_word_embeddings": False}),
    "one head a group": ("llama", {"num_key_value_heads": 4}),
    "three heads of 64 a group": (
        "llama", {"num_attention_heads": 6, "hidden_size": 96, "head_dim": 64, "rope_theta": 1e5},
    ),
    "qwen2, biased": ("qwen2", {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    folder = tmp_path_factory.mktemp("native")
    save_tiny(folder)
    return LlamaRuntime(folder)


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_those_of_transformers_up_to_eight_bits(tmp_path, name):
    kind, overrides = VARIANTS[name]
    model = save_tiny(tmp_path, kind, **overrides)
    runtime = LlamaRuntime(tmp_path)
    assert runtime.is_native
    ids = torch.randint(0, runtime.config.vocab_size, (23,))
    with torch.no_grad():
        wanted = model(ids[None]).logits[0]
    found = runtime.forward(ids, runtime.new_cache(23), all_logits=True)
    assert found.shape == wanted.shape
    assert relative(found, wanted) < 0.1


def test_tiles_hold_what_the_checkpoint_holds(runtime):
    """The embedding is read back exactly: a row of one column's weight."""
    torch.manual_seed(0)
    matrix = QuantisedMatrix(
        {
            "q4": torch.randint(0, 256, (40, 2, 16), dtype=torch.uint8),
            "scale": (torch.rand(40, 2) * 0.1).half(),
            "min": (-torch.rand(40, 2)).half(),
        }
    )
    tiles = native.tiles(matrix)
    assert tiles.shape == (3, 2, 320), "three panels of 16 outputs, the last one filled up"
    eight = native.tiles(QuantisedMatrix({"weight": matrix.dense()}))
    assert eight.shape == (3, 2, 544)
    halves = tiles[0, 1, 256:288].view(torch.float16)
    assert torch.equal(halves, matrix.scale[:16, 1])
    dense = matrix.dense()
    rounded = native.eight_bits(dense).dense()
    assert (rounded - dense).abs().max() <= dense.abs().max() / 127
    filled_up = native.Packed.of(matrix).dense()
    assert torch.equal(filled_up[:40], dense)
    assert torch.equal(filled_up[40:], dense[:1].expand(8, -1))
    eight = native.Packed.of(native.eight_bits(dense), torch.arange(48))
    assert torch.equal(eight.dense()[:40], rounded)
    some = torch.tensor([39, 3, 3, 17])
    assert torch.equal(native.Packed.of(matrix).some(some).dense()[:4], dense[some])
    assert torch.equal(eight.some(some).dense()[:4], rounded[some])
    assert eight.some(some).bias[:4].tolist() == some.tolist()


@pytest.mark.parametrize(("columns", "span"), [(32, 1), (64, 2), (224, 7), (288, 3), (576, 6)])
def test_blocks_that_share_a_scale_give_what_float32_gives(columns, span):
    torch.manual_seed(0)
    weight, bias = torch.randn(72, columns), torch.randn(72)
    assert native.widest_span(columns) == span
    linear = torch.nn.Linear(columns, 72)
    linear.weight.data, linear.bias.data = weight, bias
    kernel = native.NativeLinear(linear)
    shared = native.Packed.of(native.eight_bits(weight, span), kernel.packed.bias)
    assert relative(shared.dense()[:72], weight) < 0.01
    kernel.packed = shared
    # of blocks of activations, one is far larger than the others and one far smaller
    x = torch.randn(23, columns)
    x[:, :GROUP] *= 50
    x[:, -GROUP:] *= 1e-4
    found = kernel(x)
    assert relative(found, x @ weight.T + bias) < 0.02
    for count in (1, 2, 5, 6, 7):
        assert torch.equal(kernel(x[:count]), found[:count])
    assert torch.equal(kernel(torch.zeros(1, columns))[0], bias)


def test_a_row_does_not_depend_on_how_a_prompt_is_cut_or_on_who_is_beside_it(runtime):
    ids = torch.randint(0, runtime.config.vocab_size, (50,))
    whole = runtime.forward(ids, runtime.new_cache(50), all_logits=True)
    cache = runtime.new_cache(50)
    parts = [runtime.forward(part, cache, all_logits=True) for part in ids.split([1, 7, 20, 3, 19])]
    assert torch.equal(torch.cat(parts), whole)
    batch = torch.zeros(3, 50, dtype=torch.int64)
    batch[0], batch[1, 10:], batch[2, 25:] = ids, ids[:40], ids[:25]
    found = runtime.forward(
        batch, runtime.new_cache(50, torch.tensor([0, 10, 25])), all_logits=True
    )
    assert torch.equal(found[0], whole)
    assert torch.equal(found[1, 10:], whole[:40])
    assert torch.equal(found[2, 25:], whole[:25])
    assert not found[2, :25].any(), "padding has no logits"


def test_rows_that_go_on_from_others_read_what_these_have_read(runtime):
    prompts = torch.tensor([[5, 77, 90], [8, 44, 12]])
    cache = runtime.new_cache(8, torch.tensor([0, 1]), copies=2)
    runtime.forward(prompts, cache)
    cache.select(torch.tensor([0, 0, 1]))
    runtime.forward(torch.tensor([[1], [2], [3]]), cache)
    cache.select(torch.tensor([1, 2, 1, 0]))
    found = runtime.forward(torch.tensor([[4], [5], [6], [7]]), cache)[:, -1]
    texts = ([5, 77, 90, 2, 4], [44, 12, 3, 5], [5, 77, 90, 2, 6], [5, 77, 90, 1, 7])
    for row, text in zip(found, texts, strict=True):
        alone = runtime.forward(torch.tensor(text), runtime.new_cache(8))[-1]
        assert torch.equal(row, alone)


def test_what_prompts_begin_with_is_computed_once_and_changes_nothing(runtime, monkeypatch):
    beginning = torch.randint(0, runtime.config.vocab_size, (12,)).tolist()
    prompts = [[*beginning, 7], [*beginning, 8, 9, 10], beginning, [*beginning, 8, 11]]
    ids, padding = beam.padded(prompts)
    rows = []
    forward = native.NativeTrunk.forward
    monkeypatch.setattr(
        native.NativeTrunk, "forward",
        lambda trunk, parts: rows.append(sum(len(p.rows) for p in parts)) or forward(trunk, parts),
    )  # fmt: skip
    cache = runtime.new_cache(20, padding)
    found = runtime.forward(ids, cache)[:, -1]
    assert rows == [11, 2 + 4 + 1 + 3], "the last token of the shortest prompt is its own"
    again = runtime.forward(torch.tensor([[1], [2], [3], [4]]), cache)[:, -1]
    for row, (prompt, token) in enumerate(zip(prompts, [1, 2, 3, 4], strict=True)):
        alone = runtime.new_cache(20)
        assert torch.equal(runtime.forward(torch.tensor(prompt), alone)[-1], found[row])
        assert torch.equal(runtime.forward(torch.tensor([token]), alone)[-1], again[row])


def test_the_likeliest_tokens_are_those_of_all_logits(runtime):
    ids = torch.randint(0, runtime.config.vocab_size, (4, 6))
    logits = runtime.forward(ids, runtime.new_cache(6, torch.zeros(4, dtype=torch.int64)))[:, -1]
    for k in (9, native.MOST_LIKELY, native.MOST_LIKELY + 5):
        log_probs, tokens = runtime.likeliest(
            ids, runtime.new_cache(6, torch.zeros(4, dtype=torch.int64)), k
        )
        wanted = logits.log_softmax(-1).topk(k)
        assert torch.equal(tokens, wanted.indices)
        assert torch.allclose(log_probs, wanted.values, atol=1e-5)


@pytest.mark.parametrize("native_path", [True, False])
def test_the_likeliest_of_some_tokens_are_those_of_all_logits(runtime, tmp_path, native_path):
    if not native_path:
        save_tiny(tmp_path)
        runtime = LlamaRuntime(tmp_path, "float32")
    padding = torch.zeros(4, dtype=torch.int64)
    ids = torch.randint(0, runtime.config.vocab_size, (4, 6))
    logits = runtime.forward(ids, runtime.new_cache(6, padding))[:, -1]
    for size in (12, 100, 200):
        some = torch.randperm(runtime.config.vocab_size)[:size].sort().values
        log_probs, tokens = runtime.likeliest(ids, runtime.new_cache(6, padding), 12, among=some)
        wanted = logits[:, some].log_softmax(-1).topk(12)
        assert torch.equal(tokens, some[wanted.indices])
        assert torch.allclose(log_probs, wanted.values, atol=1e-5)
    with pytest.raises(ValueError, match="201 likeliest tokens are more than there are"):
        runtime.likeliest(ids, runtime.new_cache(6, padding), 201, among=some)


def test_requests_with_other_lists_of_tokens_are_computed_together(runtime):
    trunk, schedule = runtime.schedule.trunk, runtime.schedule
    many, few = torch.arange(3, 150), torch.arange(100, 259, 2)
    lists = [None, many, few, None, many]
    ids = torch.randint(0, runtime.config.vocab_size, (len(lists), 2, 3))
    padding, last = torch.zeros(2, dtype=torch.int64), np.array([2, 5], np.int32)

    def part(number: int, k: int) -> native.Part:
        among = lists[number]
        rows = native.Rows.of(ids[number], runtime.new_cache(3, padding), None)
        return native.Part(rows, last, k, None if among is None else schedule.short_list(among))

    alone = [trunk.forward([part(number, 9)])[0] for number in range(len(lists))]
    logits = trunk.forward([part(0, 0)])[0][0]
    together = trunk.forward([part(0, 0), *(part(number, 9) for number in range(len(lists)))])
    assert torch.equal(together[0][0], logits)
    for found, wanted in zip(together[1:], alone, strict=True):
        assert torch.equal(found[0], wanted[0])
        assert torch.equal(found[1], wanted[1])
    assert schedule.short_list(many) is schedule.short_list(many), "made once"


@pytest.mark.parametrize("rank", [4, 32, 40])
def test_an_expert_adds_what_torch_adds(tmp_path, rank):
    save_tiny(tmp_path)
    torch.manual_seed(1)
    packed, exact = LlamaRuntime(tmp_path), LlamaRuntime(tmp_path, "float32")
    shapes = {"qkv": (128, 64), "out": (64, 64), "gate_up": (192, 64), "down": (64, 96)}
    factors = [
        {n: (torch.randn(rank, k) / k**0.5, torch.randn(r, rank) / rank**0.5) for n, (r, k) in
         shapes.items() if n != "out" or layer}
        for layer in range(2)
    ]  # fmt: skip
    ids = torch.randint(0, packed.config.vocab_size, (9,))
    found = {}
    for runtime in (packed, exact):
        dtype = runtime.cache_dtype
        expert = [{n: LowRankUpdate(*pair, dtype) for n, pair in some.items()} for some in factors]
        found[runtime] = runtime.forward(ids, runtime.new_cache(9), all_logits=True, expert=expert)
        plain = runtime.forward(ids, runtime.new_cache(9), all_logits=True)
        assert relative(plain, found[runtime]) > 0.3
    assert relative(found[packed], found[exact]) < 0.1


@pytest.mark.parametrize("temperature", [1e-6, 0.3, 0.8, 2.0])
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.95, 0.999])
def test_the_nucleus_is_that_of_torch(monkeypatch, temperature, top_p):
    torch.manual_seed(0)
    for size in (5, 259, 3001):
        logits = torch.randn(size) * 3
        odds, tokens = native.nucleus(logits, temperature, top_p)
        monkeypatch.setattr(native, "library", lambda: None)
        wanted, same = sampling.nucleus(logits, temperature, top_p)
        monkeypatch.undo()
        assert torch.equal(tokens, same)
        assert torch.allclose(odds, wanted, rtol=1e-4, atol=1e-12)


def test_every_token_stays_where_all_are_as_likely():
    odds, tokens = native.nucleus(torch.zeros(1000), 1.0, 0.9999)
    assert len(tokens) == 1000
    assert torch.allclose(odds, torch.full((1000,), 1e-3, dtype=torch.float64), rtol=1e-5)


def test_a_cpu_with_avx2_alone_gives_the_same(tmp_path, monkeypatch, runtime):
    prompts = torch.randint(0, runtime.config.vocab_size, (9, 30))

    def logits(trunk):
        return [trunk.forward(ids, trunk.new_cache(30), all_logits=True) for ids in prompts]

    wanted = logits(runtime)
    flags = tuple("-march=x86-64-v3" if f.startswith("-march") else f for f in native.FLAGS)
    monkeypatch.setattr(native, "FLAGS", flags)
    monkeypatch.setenv("MTGEN_CACHE", str(tmp_path / "cache"))
    native.library.cache_clear()
    try:
        save_tiny(tmp_path / "trunk")
        narrow = LlamaRuntime(tmp_path / "trunk")
        assert narrow.is_native
        apart = sorted(map(relative, logits(narrow), wanted))
        assert apart[4] < 1e-5
        assert apart[7] < 1e-3
        assert apart[-1] < 0.02, "where a sum's last bit decides how an activation is rounded"
        assert list((tmp_path / "cache" / "kernels").glob("kernels-*.so"))
    finally:
        native.library.cache_clear()


def test_where_nothing_can_be_kept_the_kernels_are_compiled_for_this_process(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("MTGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    native.library.cache_clear()
    try:
        assert native.library() is not None
        assert len(list(tmp_path.glob("mtgen-kernels-*/kernels-*.so"))) == 1
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("why", ["no compiler", "broken compiler", "switched off", "odd shape"])
def test_without_the_kernels_the_trunk_runs_in_torch(tmp_path, monkeypatch, caplog, why):
    caplog.set_level("INFO", logger=native.__name__)
    overrides = {"intermediate_size": 90} if why == "odd shape" else {}
    save_tiny(tmp_path / "trunk", **overrides)
    if why == "no compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CC", raising=False)
    if why == "broken compiler":
        monkeypatch.setenv("CC", "false")
    if why == "switched off":
        monkeypatch.setenv(native.SWITCH, "0")
    monkeypatch.setenv("MTGEN_CACHE", str(tmp_path / "cache"))
    native.library.cache_clear()
    try:
        runtime = LlamaRuntime(tmp_path / "trunk")
        assert not runtime.is_native
        assert runtime.forward(torch.tensor([5, 6]), runtime.new_cache(2)).isfinite().all()
    finally:
        native.library.cache_clear()
    said = {"no compiler": "no C compiler", "broken compiler": "do not compile"}.get(why, "")
    assert said in caplog.text


def test_a_process_that_forks_computes_in_parent_and_child(shell):
    code = (
        "import os, torch\n"
        "from pathlib import Path\n"
        "from mtgen.engine import LlamaRuntime\n"
        "from tests.conftest import save_tiny\n"
        "import tempfile; folder = Path(tempfile.mkdtemp()); save_tiny(folder)\n"
        "runtime = LlamaRuntime(folder); ids = torch.arange(9)\n"
        "run = lambda: runtime.forward(ids, runtime.new_cache(9)).sum().item()\n"
        "first = run(); child = os.fork()\n"
        "if not child: os._exit(0 if run() == first else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), run() == first)\n"
    )
    done = shell("-W", "ignore", "-c", code)
    assert done.stdout.strip() == "0 True", done.stderr


def test_the_kernels_compile_without_a_warning(tmp_path):
    for march in ("native", "x86-64-v3"):
        done = subprocess.run(
            ["cc", *(f for f in native.FLAGS if "march" not in f), f"-march={march}", "-Wall",
             "-Wextra", str(native.SOURCE), "-o", str(tmp_path / "out.so"), "-lm"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert not done.stderr


def test_shapes_that_do_not_fit_are_known(runtime):
    assert native.fits(runtime.config)
    assert runtime.config.n_embd % GROUP == 0
