"""Our own products and attention for CPUs: `kernels.c`, compiled once where a C compiler is found.

Without one, or on a CPU without AVX2, `library` gives None and the trunk runs in torch.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import itertools
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_float, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64, UInt8
from torch import Tensor

from mtgen.engine.cache import KVCache
from mtgen.engine.linear import GROUP, MATRICES, QuantisedMatrix, Updates
from mtgen.model.config import TrunkConfig
from mtgen.model.trunk import cache_dir

SOURCE = Path(__file__).with_name("kernels.c")
FLAGS = (
    "-O3", "-march=native", "-std=c11", "-D_GNU_SOURCE", "-ffp-contract=off", "-fno-math-errno",
    "-shared", "-fPIC", "-pthread",
)  # fmt: skip
COMPILERS = ("cc", "gcc", "clang")
COMPILE_S = 120
LANES = 16
"""Outputs of a tile."""
MOST_SPAN = 8
"""Blocks that may share a scale."""
SWITCH = "MTGEN_NATIVE"
"""Environment variable; 0 leaves the kernels alone."""

log = logging.getLogger(__name__)


class Matrix(Structure):
    """`matrix` of kernels.c."""

    _fields_ = (
        ("tiles", c_void_p), ("bias", c_void_p),
        ("rows", c_int32), ("columns", c_int32), ("bits", c_int32), ("span", c_int32),
    )  # fmt: skip


class Layer(Structure):
    """`layer` of kernels.c."""

    _fields_ = (
        ("attn_norm", c_void_p), ("ffn_norm", c_void_p),
        ("qkv", Matrix), ("out", Matrix), ("gate_up", Matrix), ("down", Matrix),
    )  # fmt: skip


class Model(Structure):
    """`model` of kernels.c."""

    _fields_ = (
        ("n_layer", c_int32), ("n_embd", c_int32), ("n_head", c_int32), ("n_kv_head", c_int32),
        ("head_dim", c_int32), ("n_ff", c_int32), ("eps", c_float),
        ("rotations", c_void_p), ("norm", c_void_p), ("layers", POINTER(Layer)),
        ("embedding", Matrix), ("head", Matrix),
    )  # fmt: skip


class Cache(Structure):
    """`cache` of kernels.c."""

    _fields_ = (
        ("keys", c_void_p), ("values", c_void_p),
        ("layer_stride", c_int64), ("stream_stride", c_int64), ("head_stride", c_int64),
        ("history", c_void_p), ("history_stride", c_int64),
    )  # fmt: skip


class Vocabulary(Structure):
    """`vocabulary` of kernels.c."""

    _fields_ = (("head", POINTER(Matrix)), ("ids", c_void_p), ("size", c_int32), ("rows", c_int32))


def cpu_features() -> str:
    """What the CPU can, as the system tells it: a library made for another one may not run."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def compiled(folder: Path) -> Path | None:
    """The library in a folder, compiled if it is not there yet; None where that fails."""
    name = hashlib.sha256("\n".join([*FLAGS, cpu_features()]).encode() + SOURCE.read_bytes())
    path = folder / f"kernels-{name.hexdigest()[:16]}.so"
    if path.is_file():
        return path
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        log.info("no C compiler was found: the trunk runs in torch, at a third of the speed")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place) / path.name
        command = [*compiler.split(), *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COMPILE_S, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            log.info("the kernels do not compile (%s): the trunk runs in torch", said[-1:])
            return None
        made.replace(path)  # whole or not at all, whoever else compiles
    return path


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None where they cannot be had."""
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        path = compiled(cache_dir() / "kernels")
    except OSError:  # nothing can be written there
        path = compiled(Path(tempfile.mkdtemp(prefix="mtgen-kernels-")))
    if path is None:
        return None
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        log.info("the kernels do not load (%s): the trunk runs in torch", error)
        return None
    found.mtgen_forward.argtypes = (
        POINTER(Model), c_void_p, c_void_p, c_int32, c_int32, c_void_p, c_void_p, c_int32,
        c_void_p, c_int32, c_int32, c_void_p, c_void_p, c_void_p, c_int32,
    )  # fmt: skip
    found.mtgen_linear.argtypes = (POINTER(Matrix), c_void_p, c_int32, c_void_p, c_int32)
    return found


@functools.cache
def nucleus_function() -> Any:
    """`mtgen_nucleus`, called with the interpreter's lock held: to give it up and to get it back
    takes longer where many streams want it."""
    found = library()
    assert found is not None
    function = ctypes.PyDLL(found._name).mtgen_nucleus
    function.argtypes = (
        c_void_p, c_int32, ctypes.c_double, ctypes.c_double, c_void_p, c_void_p,
    )  # fmt: skip
    return function


def fits(config: TrunkConfig) -> bool:
    """Whether the kernels can run a trunk of this shape."""
    widths = (config.n_embd, config.n_ff, config.n_head * config.head_dim)
    return (
        not any(width % GROUP for width in widths)
        and config.head_dim % LANES == 0
        and config.head_dim <= 16 * LANES
        and config.n_head // config.n_kv_head <= 16
    )


def tiles(matrix: QuantisedMatrix) -> UInt8[Tensor, "P B S"]:
    """A matrix as the kernels read it; what is not quantised is rounded to 8 bits.

    See kernels.c for the layout. Outputs are filled up to a multiple of 16.
    """
    if "weight" in matrix.parts:
        matrix = eight_bits(matrix.parts["weight"])
    if missing := -matrix.n_rows % LANES:
        parts = {n: torch.cat([x, x[:1].expand(missing, *x.shape[1:])]) for n, x in
                 matrix.parts.items()}  # fmt: skip
        matrix = QuantisedMatrix(parts)
    panels = matrix.n_rows // LANES

    def by_tile(part: Tensor) -> Tensor:
        """Scales or minima: 16 float16 for each tile."""
        halves = part.half().view(panels, LANES, -1).transpose(1, 2).contiguous()
        return halves.view(torch.uint8)

    scales = by_tile(matrix.scale)
    if "q4" in matrix.parts:
        words = matrix.q4.reshape(panels, LANES, -1, 4, 4).permute(0, 2, 3, 1, 4)
        return torch.cat([words.flatten(2), scales, by_tile(matrix.min)], dim=2)
    codes = (matrix.parts["q8"].view(torch.uint8) ^ 128).view(panels, LANES, -1, 8, 4)
    words = codes.permute(0, 2, 3, 1, 4).reshape(panels, scales.shape[1], -1)
    return torch.cat([words, scales], dim=2)


def widest_span(columns: int) -> int:
    """How many blocks of so wide a matrix may share a scale."""
    blocks = columns // GROUP
    return next(n for n in range(MOST_SPAN, 0, -1) if blocks % n == 0)


def eight_bits(weight: Float[Tensor, "N K"], span: int = 1) -> QuantisedMatrix:
    """Blocks of 32 columns, so many with one scale; one each is Q8_0 of GGUF."""
    blocks = weight.float().unflatten(1, (-1, span * GROUP))
    scale = (blocks.abs().amax(-1) / 127).half()
    inverse = torch.where(scale > 0, 1 / scale.float(), 0)
    codes = (blocks * inverse[..., None]).round_().clamp_(-127, 127).to(torch.int8)
    return QuantisedMatrix({"q8": codes.flatten(1), "scale": scale})


class Packed:
    """A matrix in tiles, and what kernels.c knows it by."""

    def __init__(self, tiles: UInt8[Tensor, "P B S"], bits: int, bias: Tensor | None) -> None:
        self.tiles, self.bits, self.bias = tiles, bits, bias
        panels, groups, size = tiles.shape
        span = 1 if bits == 4 else size // (LANES * GROUP)
        self.entry = Matrix(
            tiles.data_ptr(), None if bias is None else bias.data_ptr(),
            panels * LANES, groups * span * GROUP, bits, span,
        )  # fmt: skip

    @classmethod
    def of(cls, matrix: QuantisedMatrix, bias: Tensor | None = None) -> Packed:
        """Packs a matrix."""
        bits = 4 if "q4" in matrix.parts else 8
        return cls(tiles(matrix), bits, None if bias is None else bias.float().contiguous())

    def some(self, rows: Int64[Tensor, " N"]) -> Packed:
        """A matrix of some of the rows, filled up to a multiple of 16."""
        rows = torch.cat([rows, rows[:1].expand(-len(rows) % LANES)])

        def chosen(part: UInt8[Tensor, "P B S"], width: int) -> UInt8[Tensor, "p B S"]:
            lanes = part.unflatten(2, (-1, LANES, width)).permute(0, 3, 1, 2, 4)
            some = lanes.flatten(0, 1)[rows].unflatten(0, (-1, LANES))
            return some.permute(0, 2, 3, 1, 4).flatten(2)

        words, ends = self.split()
        bias = None if self.bias is None else self.bias[rows]
        return Packed(torch.cat([chosen(words, 4), chosen(ends, 2)], dim=2), self.bits, bias)

    def split(self) -> tuple[UInt8[Tensor, "P B W"], UInt8[Tensor, "P B E"]]:
        """Words of the tiles, and their scales with the minima of 4 bits."""
        ends = (2 if self.bits == 4 else 1) * 2 * LANES
        words, scales = self.tiles.split([self.tiles.shape[2] - ends, ends], dim=2)
        return words, scales

    def dense(self) -> Float[Tensor, "N K"]:
        """The weights, in float32."""
        panels, groups, _ = self.tiles.shape
        words, ends = self.split()
        scale = ends[..., : 2 * LANES]
        if self.bits == 4:
            words = torch.stack([words & 15, words >> 4], dim=2)
        codes = words.reshape(panels, groups, -1, LANES, 4).permute(0, 3, 1, 2, 4).flatten(3)

        def by_output(ends: Tensor) -> Tensor:
            numbers = ends.contiguous().view(torch.float16).float()
            return numbers.transpose(1, 2)[..., None]

        if self.bits == 4:
            weights = codes * by_output(scale) + by_output(ends[..., 2 * LANES :])
        else:
            weights = (codes.float() - 128) * by_output(scale)
        return weights.view(panels * LANES, -1)


def interleaved(n_ff: int) -> Int64[Tensor, " N"]:
    """Order of rows of gate and up: 16 of the one, 16 of the other."""
    return torch.arange(2 * n_ff).view(2, -1, LANES).transpose(0, 1).flatten()


class NativeExpert:
    """The layers' matrices with an expert's low-rank updates merged in, in 8 bits.

    Apart, the updates would be a fifth of the work of many rows; in 4 bits the sum would lose them.
    """

    def __init__(self, updates: Sequence[Updates], trunk: NativeTrunk) -> None:
        self.kept: list[Packed] = []
        self.entries = (Layer * len(updates))()
        for entry, layer, packed in zip(self.entries, updates, trunk.layers, strict=True):
            for name in MATRICES:
                main = packed[name]
                assert isinstance(main, Packed)
                weight = main.dense()
                if name in layer:
                    up = layer[name].up.float()
                    if name == "gate_up":
                        up = up[interleaved(trunk.config.n_ff)]
                    weight[: len(up)] += up @ layer[name].down.float()
                matrix = eight_bits(weight, widest_span(weight.shape[1]))
                self.kept.append(Packed.of(matrix, main.bias))
                setattr(entry, name, self.kept[-1].entry)


@dataclass(frozen=True)
class Rows:
    """Positions to compute of the streams of one cache, earlier ones of a stream first."""

    table: Int32[np.ndarray, "N 5"]
    """Token, cache, stream, slot and the stream's first slot: `row` of kernels.c."""
    cache: Cache
    expert: NativeExpert | None
    kept: tuple[Tensor | None, ...]
    """What `cache` points to."""

    CACHE: ClassVar = 1
    STREAM: ClassVar = 2
    SLOT: ClassVar = 3

    @classmethod
    def of(cls, ids: Int64[Tensor, "B T"], cache: KVCache, expert: NativeExpert | None) -> Rows:
        """What is appended to the streams of a cache; padding and what is known are left out."""
        batch, length = ids.shape
        table = np.zeros((batch, length, 5), np.int32)
        table[..., 0] = ids.numpy()
        table[..., cls.STREAM] = np.arange(batch)[:, None]
        table[..., cls.SLOT] = cache.length + np.arange(length)
        if cache.padding is not None:
            table[..., 4] = cache.padding.numpy()[:, None]
        table = table.reshape(-1, 5)
        if cache.padding is not None:
            table = table[table[:, cls.SLOT] >= table[:, 4] + cache.known]
        data = cache.data
        layer_stride, _, stream_stride, head_stride, *_ = data.stride()
        history = cache.history
        entry = Cache(
            data.data_ptr(), data[0, 1].data_ptr(), layer_stride, stream_stride, head_stride,
            None if history is None else history.data_ptr(), cache.capacity,
        )  # fmt: skip
        return cls(table, entry, expert, (data, history))

    def __len__(self) -> int:
        return len(self.table)

    def first(self, count: int) -> Rows:
        return dataclasses.replace(self, table=self.table[:count])

    def after(self, count: int) -> Rows:
        return dataclasses.replace(self, table=self.table[count:])


class ShortList:
    """Some tokens, and what gives their logits: those of the whole vocabulary, bit for bit."""

    def __init__(self, tokens: Int64[Tensor, " N"], trunk: NativeTrunk) -> None:
        """Takes tokens in ascending order."""
        self.tokens = tokens.int().contiguous()
        self.head = trunk.head.some(tokens)


@dataclass(frozen=True)
class Part:
    """Rows to compute, and what is asked for."""

    rows: Rows
    wanted: Int32[np.ndarray, " R"]
    """Which of the rows' logits."""
    k: int
    """Only the likeliest so many, with their log-probabilities; 0 for all logits."""
    among: ShortList | None = None
    """The likeliest of these; None is all tokens."""


MOST_LIKELY = 64
"""The largest k: `MOST_TOP` of kernels.c."""

Found = tuple[Float[Tensor, "R V"], Int64[Tensor, "R V"] | None]
"""Logits; or the log-probabilities of the likeliest tokens, and which these are."""


class NativeTrunk:
    """The trunk's weights in tiles, and calls to compute with them."""

    def __init__(
        self,
        config: TrunkConfig,
        layers: Sequence[dict[str, Packed | Tensor]],
        embedding: Packed,
        head: Packed,
        norm: Tensor,
        rotations: Float[Tensor, "P D"],
    ) -> None:
        """Takes packed layers.

        Args:
            config: A shape that `fits`.
            layers: By name: `attn_norm`, `ffn_norm`, and the four matrices.
            embedding: Of tokens.
            head: Projection to the vocabulary.
            norm: Of the last state.
            rotations: Cosine and sine of each position's pairs.
        """
        found = library()
        assert found is not None
        self.library = found
        self.layers = layers
        self.kept = (embedding, norm, rotations)
        self.head = head
        self.config = config
        self.entries = (Layer * config.n_layer)()
        for entry, layer in zip(self.entries, layers, strict=True):
            for name, part in layer.items():
                setattr(entry, name, part.entry if isinstance(part, Packed) else part.data_ptr())
        self.head_rows = head.entry.rows
        self.matrices = [x for layer in layers for x in layer.values() if isinstance(x, Packed)]
        self.num_bytes = sum(x.tiles.nbytes for x in (head, *self.matrices))
        """Of the weights that a token takes."""
        self.model = Model(
            config.n_layer, config.n_embd, config.n_head, config.n_kv_head, config.head_dim,
            config.n_ff, config.rms_norm_eps, rotations.data_ptr(), norm.data_ptr(), self.entries,
            embedding.entry, head.entry,
        )  # fmt: skip

    def num_products(self, rows: int) -> int:
        """Multiplications that so many rows take, with the logits of one."""
        *layers, head = (x.entry.rows * x.entry.columns for x in (*self.matrices, self.head))
        return rows * sum(layers) + head

    def vocabulary(self, among: ShortList | None, rows: int) -> Vocabulary:
        """For so many rows, which tokens are ranked."""
        if among is None:
            return Vocabulary(ctypes.pointer(self.head.entry), None, self.config.vocab_size, rows)
        tokens = among.tokens
        head = ctypes.pointer(among.head.entry)
        return Vocabulary(head, tokens.data_ptr(), len(tokens), rows)

    def forward(self, parts: Sequence[Part]) -> list[Found]:
        """Appends rows to their streams; not to be called by two threads at once.

        Args:
            parts: Rows of several streams, those with an expert first; all of these have the same.

        Returns:
            What each part asks for.
        """
        caches = (Cache * len(parts))(*(part.rows.cache for part in parts))
        for number, part in enumerate(parts):
            part.rows.table[:, Rows.CACHE] = number
        table = np.concatenate([part.rows.table for part in parts])
        starts = itertools.accumulate((len(part.rows) for part in parts), initial=0)
        wanted = [part.wanted + start for part, start in zip(parts, starts, strict=False)]
        order = sorted(range(len(parts)), key=lambda n: (parts[n].k > 0, id(parts[n].among)))
        chosen = np.concatenate([wanted[number] for number in order])
        n_top = sum(len(part.wanted) for part in parts if part.k)
        k = max(part.k for part in parts)
        ranked = (parts[number] for number in order if parts[number].k)
        found = [
            self.vocabulary(among, sum(len(part.wanted) for part in some))
            for among, some in itertools.groupby(ranked, lambda part: part.among)
        ]
        vocabularies = (Vocabulary * len(found))(*found)
        expert = parts[0].rows.expert
        logits = torch.empty(len(chosen) - n_top, self.head_rows)
        log_probs, ids = torch.empty(n_top, k), torch.empty(n_top, k, dtype=torch.int64)
        failed = self.library.mtgen_forward(
            self.model, None if expert is None else ctypes.addressof(expert.entries),
            table.ctypes.data, len(table),
            sum(len(part.rows) for part in parts if part.rows.expert is not None),
            ctypes.addressof(caches), chosen.ctypes.data, len(chosen), logits.data_ptr(),
            n_top, k, ctypes.addressof(vocabularies),
            log_probs.data_ptr(), ids.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError("there is no memory left to compute with")
        results: list[Found] = [(logits, ids)] * len(parts)
        at = at_top = 0
        for number in order:
            part, count = parts[number], len(wanted[number])
            if part.k:
                rows = slice(at_top, at_top + count)
                results[number] = log_probs[rows, : part.k], ids[rows, : part.k]
                at_top += count
            else:
                results[number] = logits[at : at + count, : self.config.vocab_size], None
                at += count
        return results


class NativeLinear(torch.nn.Module):
    """An `nn.Linear` in tiles of 8 bits, float32 in and out; each row by itself, bit for bit."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        found = library()
        assert found is not None
        self.library = found
        weight = linear.weight.detach()
        bias = None if linear.bias is None else linear.bias.detach()
        if bias is not None:
            bias = torch.nn.functional.pad(bias, (0, -len(bias) % LANES))
        self.packed = Packed.of(QuantisedMatrix({"weight": weight}), bias)
        self.out_features = linear.out_features

    def forward(self, x: Float[Tensor, "*N K"]) -> Float[Tensor, "*N R"]:
        rows = x.reshape(-1, x.shape[-1]).float().contiguous()
        y = torch.empty(len(rows), self.packed.entry.rows)
        failed = self.library.mtgen_linear(
            self.packed.entry, rows.data_ptr(), len(rows), y.data_ptr(), torch.get_num_threads()
        )
        if failed:
            raise MemoryError("there is no memory left to compute with")
        return y[:, : self.out_features].view(*x.shape[:-1], -1)


def quantise_linears(module: torch.nn.Module) -> None:
    """Puts every linear layer of a module into tiles, where its width allows that."""
    for name, child in module.named_children():
        if not isinstance(child, torch.nn.Linear):
            quantise_linears(child)
        elif child.in_features % GROUP == 0:
            setattr(module, name, NativeLinear(child))


def nucleus(
    logits: Float[Tensor, " V"], temperature: float, top_p: float
) -> tuple[Float64[Tensor, " N"], Int64[Tensor, " N"]]:
    """See `mtgen.model.sampling.nucleus`; only where there is a `library`."""
    logits = logits.contiguous()
    ids = np.empty(len(logits), np.int64)
    probabilities = np.empty(len(logits), np.float64)
    kept = nucleus_function()(
        logits.data_ptr(), len(logits), temperature, top_p, ids.ctypes.data,
        probabilities.ctypes.data,
    )  # fmt: skip
    if kept < 0:
        raise MemoryError("there is no memory left to compute with")
    return torch.from_numpy(probabilities[:kept]), torch.from_numpy(ids[:kept])
