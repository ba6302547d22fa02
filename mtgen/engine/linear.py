"""Linear layers packed for the CPU, and the checkpoint that they are read from.

Measured in docs/decisions/0001-four-bit-weights.md: at one row a product is bound by the bytes
of weights read, so the 4-bit kernel wins; at many rows by arithmetic, so bf16 matrices win.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mtgen.errors import CorruptedFileError

MATRICES = ("qkv", "out", "gate_up", "down")
"""The matrices of one layer, Q with K and V and gate with up stacked."""
PARTS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
"""What is stacked, by its names in a checkpoint."""
ROTATED = PARTS["qkv"][:2]

GROUP = 32
"""Columns that share a scale in a 4-bit matrix."""

INT8_BLOCK = 32
"""Columns that the int8 kernel reads at once, past the end of a matrix of others."""

FEW_ROWS = 16
"""Up to this many rows the 4-bit kernel is faster than bf16 matrices."""

MANY_ROWS = 64
"""From this many rows on, where a CPU has no products of bf16, a matrix is made dense each time."""


def bf16_is_fast() -> bool:
    """Whether this CPU multiplies bf16 matrices natively (else oneDNN emulates them slowly)."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@runtime_checkable
class Linear(Protocol):
    """`y = x @ W.T (+ b)` for x of shape (T, K), in the layer's own compute dtype."""

    dtype: torch.dtype

    def __call__(self, x: Tensor) -> Tensor: ...


class DenseLinear:
    """Weights as they are: the float32 reference, and checkpoints that are not quantised."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Float[Tensor, "T K"]) -> Float[Tensor, "T N"]:
        return F.linear(x, self.weight, self.bias)


class PackedLinear:
    """bf16 weights in the order in which oneDNN multiplies them, which else it makes each time."""

    dtype = torch.bfloat16

    def __init__(self, weight: Float[Tensor, "N K"]) -> None:
        weight = weight.to(torch.bfloat16).contiguous()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight)

    def __call__(self, x: Float[Tensor, "T K"]) -> Float[Tensor, "T N"]:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")


class Int4Linear:
    """4-bit weights in groups of 32 for few rows, and a bf16 copy for many.

    Without fast bf16, many rows are multiplied with the matrix made dense for them: 3.5 ms for 128
    rows of 1536 x 576 instead of 5.4.
    """

    dtype = torch.bfloat16

    def __init__(self, matrix: QuantisedMatrix) -> None:
        nibbles = matrix.q4
        low, high = nibbles & 15, nibbles >> 4
        codes = torch.cat([low, high], dim=-1).flatten(1).to(torch.int32)
        self.packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
        # the kernel computes (code - 8) * scale + zero
        zero = matrix.min.float() + 8 * matrix.scale.float()
        scales = torch.stack([matrix.scale.float(), zero], dim=-1)
        self.scales = scales.transpose(0, 1).contiguous().to(torch.bfloat16)
        self.many, self.matrix = None, None
        if bf16_is_fast():
            self.many = PackedLinear(matrix.dense())
        else:
            self.matrix = matrix

    def __call__(self, x: Float[Tensor, "T K"]) -> Float[Tensor, "T N"]:
        if self.many is not None and x.shape[0] > FEW_ROWS:
            return self.many(x)
        if self.matrix is not None and x.shape[0] >= MANY_ROWS:
            return F.linear(x.float(), self.matrix.dense()).to(self.dtype)
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, self.packed, GROUP, self.scales)


class Int8Head:
    """Vocabulary projection: int8 weights by row, activations split into two 7-bit digits.

    A bf16 output would blur logits by 0.06 and reorder close ones, so the product runs in
    integers and comes out in float32. Two digits give the activations 12 bits and a sign; 7-bit
    digits cannot overflow the 16-bit sums of CPUs without VNNI.
    """

    dtype = torch.float32

    def __init__(self, matrix: QuantisedMatrix) -> None:
        codes, scales = [], []
        for part in torch.arange(matrix.n_rows).split(8192):  # never the whole matrix in float
            weight = matrix.rows(slice(int(part[0]), int(part[-1]) + 1)).dense()
            scale = weight.abs().amax(dim=1).clamp_min_(1e-12) / 127
            codes.append((weight / scale[:, None]).round_().to(torch.int8))
            scales.append(scale)
        self.scale = torch.cat(scales)
        weight = torch.cat(codes)
        self.packed = torch.backends.mkldnn.is_available()
        if self.packed:
            self.weight = torch.ops.onednn.qlinear_prepack(weight, [2, weight.shape[1]])
            self.zero = torch.zeros(len(weight), dtype=torch.int32)
        else:
            self.weight = weight.t()

    def __call__(self, x: Float[Tensor, "T K"]) -> Float[Tensor, "T V"]:
        step = x.abs().amax(dim=1, keepdim=True).clamp_min_(1e-12) / 8000
        whole = (x / step).round_()
        high = (whole / 128).round_()
        sums = self._product(torch.cat([high, whole.sub_(high, alpha=128)]))
        high, low = sums.chunk(2)
        return low.add_(high, alpha=128).mul_(step)

    def _product(self, digits: Float[Tensor, "T2 K"]) -> Float[Tensor, "T2 V"]:
        """Exact products of whole numbers from -64 to 63, times the rows' scales."""
        if not self.packed:
            return torch.ops.aten._int_mm(digits.to(torch.int8), self.weight) * self.scale
        return torch.ops.onednn.qlinear_pointwise(
            digits.add_(64).to(torch.uint8), 1.0, 64, self.weight, self.scale, self.zero,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip


class LowRankUpdate:
    """What an expert adds to a product: `x @ down.T @ up.T` (LoRA, arXiv:2106.09685).

    For few rows the factors are in int8, each row with its scale: bf16 products so thin take the
    time of their calls (docs/decisions/0007). So they are for all where a CPU has no products of
    bf16: emulated, those of 128 rows take seven times as long.
    """

    def __init__(
        self, down: Float[Tensor, "R K"], up: Float[Tensor, "N R"], dtype: torch.dtype
    ) -> None:
        self.down, self.up = down.to(dtype), up.to(dtype)

    # Made when first used: our own kernels need neither.

    @functools.cached_property
    def many(self) -> list[PackedLinear]:
        if self.down.dtype == torch.bfloat16 and bf16_is_fast():
            return [PackedLinear(self.down), PackedLinear(self.up)]
        return []

    @functools.cached_property
    def few(self) -> list[Tensor] | None:
        if self.down.dtype == torch.bfloat16 and not any(n % INT8_BLOCK for n in self.down.shape):
            return [*int8_rows(self.down), *int8_rows(self.up)]
        return None

    def added(self, y: Float[Tensor, "T N"], x: Float[Tensor, "T K"]) -> Float[Tensor, "T N"]:
        """`y`, the product of the updated matrix with `x`, with the update."""
        if self.few is not None and (x.shape[0] <= FEW_ROWS or not self.many):
            down, down_scale, up, up_scale = self.few
            inner = torch.ops.aten._weight_int8pack_mm(x, down, down_scale)
            return y + torch.ops.aten._weight_int8pack_mm(inner, up, up_scale)
        if self.many:
            down, up = self.many
            return y + up(down(x))
        return y + F.linear(F.linear(x, self.down), self.up)


Updates = Mapping[str, LowRankUpdate]
"""By matrix of one layer."""


def int8_rows(weight: Float[Tensor, "N K"]) -> tuple[Int8[Tensor, "N K"], Float[Tensor, " N"]]:
    """Codes from -127 to 127 and the bf16 scale of each row."""
    scale = (weight.float().abs().amax(1).clamp_min(1e-12) / 127).to(torch.bfloat16)
    codes = (weight.float() / scale.float()[:, None]).round_().clamp_(-127, 127)
    return codes.to(torch.int8), scale


class QuantisedMatrix:
    """A matrix as the checkpoint stores it; see `mtgen.model.gguf` for the layout."""

    def __init__(self, parts: dict[str, Tensor]) -> None:
        self.parts = parts

    @property
    def q4(self) -> Tensor:
        return self.parts["q4"]

    @property
    def scale(self) -> Tensor:
        return self.parts["scale"]

    @property
    def min(self) -> Tensor:
        return self.parts["min"]

    @property
    def n_rows(self) -> int:
        return next(iter(self.parts.values())).shape[0]

    def rows(self, index: Tensor | slice) -> QuantisedMatrix:
        """The same rows of every part."""
        return QuantisedMatrix({name: part[index] for name, part in self.parts.items()})

    @staticmethod
    def stack(matrices: list[QuantisedMatrix]) -> QuantisedMatrix:
        """Matrices of the same kind below each other."""
        kinds = matrices[0].parts
        return QuantisedMatrix({k: torch.cat([m.parts[k] for m in matrices]) for k in kinds})

    def dense(self) -> Float[Tensor, "N ..."]:
        """The weights in float32."""
        if "weight" in self.parts:
            return self.parts["weight"].float()
        scale = self.scale.float().unsqueeze(-1)
        if "q8" in self.parts:
            codes = self.parts["q8"].unflatten(1, (-1, GROUP))
            return (codes * scale).flatten(1)
        codes = torch.cat([self.q4 & 15, self.q4 >> 4], dim=-1)
        return codes.to(scale.dtype).mul_(scale).add_(self.min.float().unsqueeze(-1)).flatten(1)


class Checkpoint:
    """Reads matrices by their `transformers` name out of a folder's safetensors files."""

    def __init__(self, folder: Path) -> None:
        self.files = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                file = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CorruptedFileError(
                    f"{path} is not a readable safetensors file ({error})"
                ) from None
            self.files.update(dict.fromkeys(file.keys(), file))
        self.folder = folder

    def has(self, name: str) -> bool:
        return name in self.files

    def tensor(self, name: str) -> Tensor:
        """One tensor as stored, copied: a view would keep the whole file in memory.

        Raises:
            CorruptedFileError: it is not there.
        """
        if name not in self.files:
            raise CorruptedFileError(f"the checkpoint {self.folder} lacks the tensor {name!r}")
        return self.files[name].get_tensor(name).clone()

    def matrix(self, name: str) -> QuantisedMatrix:
        """All parts of the matrix `name`, such as `model.layers.0.mlp.up_proj`."""
        suffixes = [s for s in ("q4", "q8", "scale", "min") if self.has(f"{name}.{s}")]
        return QuantisedMatrix({s: self.tensor(f"{name}.{s}") for s in suffixes or ["weight"]})

    def state_dict(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Everything dequantised, for `transformers`' `LlamaForCausalLM.load_state_dict`."""
        names = dict.fromkeys(n.rsplit(".", 1)[0] for n in self.files if not n.endswith(".bias"))
        state = {f"{name}.weight": self.matrix(name).dense().to(dtype) for name in names}
        state |= {n: self.tensor(n).to(dtype) for n in self.files if n.endswith(".bias")}
        return state


def pack(matrix: QuantisedMatrix, bias: Tensor | None, precision: str) -> Linear:
    """The fastest layer for a matrix: 4-bit where it is stored so, else bf16."""
    if precision == "packed" and "q4" in matrix.parts and bias is None:
        return Int4Linear(matrix)
    fast = precision == "packed" and bf16_is_fast()
    return DenseLinear(matrix.dense(), bias, torch.bfloat16 if fast else torch.float32)
