"""NF4: four-bit weights in bitsandbytes' layout, quantized and dequantized in plain torch.

Invariant: packed bytes, scales and dequantized values are those of bitsandbytes on the CPU, and the tensors
on disk carry the names it gives them, so either can read what the other wrote.

A weight is cut, row-major, into blocks; each block stores its largest magnitude (absmax) and one of 16 normal
quantiles a value (QLoRA, arXiv 2305.14314, section 3 and appendix E). *Nested* (double) quantization
stores the scales themselves, less their mean, in 8 bits of a dynamic map, 256 to a block
(arXiv 2110.02861, section 2.1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import msgspec
import torch
from torch import Tensor

from deltaloom_model.errors import ModelLoadError

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
NESTED_BLOCK = 256
STATE_SUFFIX = ".quant_state.bitsandbytes__nf4"
SUFFIXES = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", STATE_SUFFIX)
"""What follows a quantized weight's own name, one tensor each (the nested ones only when nested)."""

_MAX_STATE_BYTES = 4096
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

# Quantiles of N(0, 1) scaled to [-1, 1], from QLoRA's appendix E.
NF4_VALUES = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


@dataclass(frozen=True, slots=True, eq=False)
class NestedScales:
    """8-bit scales: scale[i] = code[indices[i]] * absmax[i // 256] + offset.

    `indices` uint8 [blocks], `absmax` fp32 [ceil(blocks / 256)], `code` fp32 [256].
    """

    indices: Tensor
    absmax: Tensor
    code: Tensor
    offset: float

    def expand(self) -> Tensor:
        """The scales, fp32 [blocks]."""
        blocks = torch.arange(self.indices.numel(), device=self.indices.device) // NESTED_BLOCK
        return self.code[self.indices.long()] * self.absmax[blocks] + self.offset


@dataclass(frozen=True, slots=True, eq=False)
class Nf4Tensor:
    """A quantized weight: two values a byte, the first in the high half.

    `packed` uint8 [ceil(n / 2), 1] with n the number of values; `scales` fp32 [ceil(n / blocksize)] or
    nested; `dtype` is what the weight was before, `shape` its shape.
    """

    packed: Tensor
    scales: Tensor | NestedScales
    shape: tuple[int, ...]
    dtype: torch.dtype
    blocksize: int = 64

    def absmax(self) -> Tensor:
        """The blocks' scales, fp32 [ceil(n / blocksize)]."""
        return self.scales.expand() if isinstance(self.scales, NestedScales) else self.scales

    def to(self, device: torch.device | str) -> Nf4Tensor:
        """The same weight on another device."""
        scales = self.scales
        if isinstance(scales, NestedScales):
            moved: Tensor | NestedScales = NestedScales(
                scales.indices.to(device), scales.absmax.to(device), scales.code.to(device), scales.offset
            )
        else:
            moved = scales.to(device)
        return Nf4Tensor(self.packed.to(device), moved, self.shape, self.dtype, self.blocksize)


def quantize_nf4(weight: Tensor, *, blocksize: int = 64, nested: bool = True) -> Nf4Tensor:
    """Quantize a float weight of any shape, as `bitsandbytes.functional.quantize_4bit` does on the CPU."""
    assert blocksize in BLOCK_SIZES
    indices, absmax = _nearest(weight, _values(weight.device), blocksize)
    if indices.numel() % 2:  # the half byte that is left over holds zero (index 7)
        indices = torch.nn.functional.pad(indices, (0, 1), value=7)
    packed = ((indices[::2] << 4) | indices[1::2]).unsqueeze(1)
    scales: Tensor | NestedScales = absmax
    if nested:
        code = dynamic_map().to(weight.device)
        offset = absmax.mean()
        low, outer = _nearest(absmax - offset, code, NESTED_BLOCK)
        scales = NestedScales(low, outer, code, offset.item())
    return Nf4Tensor(packed, scales, tuple(weight.shape), weight.dtype, blocksize)


def dequantize_nf4(quantized: Nf4Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """The weight in its shape, in `dtype` (default: the one it had), products taken in fp32."""
    count = prod(quantized.shape)
    values = _pairs(quantized.packed.device)[quantized.packed.reshape(-1).long()].reshape(-1)[:count]
    absmax, block = quantized.absmax(), quantized.blocksize
    whole = count - count % block
    scaled = values[:whole].view(-1, block) * absmax[: whole // block, None]
    out = scaled.reshape(-1)
    if whole < count:
        out = torch.cat((out, values[whole:] * absmax[-1]))
    return out.reshape(quantized.shape).to(dtype or quantized.dtype)


def pack_tensors(name: str, quantized: Nf4Tensor) -> dict[str, Tensor]:
    """The tensors that stand for the weight `name` on disk, under bitsandbytes' names."""
    state: dict[str, object] = {
        "quant_type": "nf4",
        "blocksize": quantized.blocksize,
        "dtype": _DTYPE_NAMES[quantized.dtype],
        "shape": list(quantized.shape),
    }
    tensors = {name: quantized.packed, name + ".quant_map": _values(quantized.packed.device)}
    scales = quantized.scales
    if isinstance(scales, NestedScales):
        state |= {"nested_blocksize": NESTED_BLOCK, "nested_dtype": "float32", "nested_offset": scales.offset}
        tensors[name + ".absmax"] = scales.indices
        tensors[name + ".nested_absmax"] = scales.absmax
        tensors[name + ".nested_quant_map"] = scales.code
    else:
        tensors[name + ".absmax"] = scales
    tensors[name + STATE_SUFFIX] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    return tensors


class _State(msgspec.Struct):
    """The JSON in `quant_state.bitsandbytes__nf4`; msgspec checks types and ranges."""

    quant_type: str
    blocksize: int
    dtype: str
    shape: list[int]
    nested_blocksize: int = 0
    nested_offset: float = 0.0


def unpack_tensors(name: str, tensors: Mapping[str, Tensor]) -> Nf4Tensor:
    """Put the weight `name` together from its tensors. Raises `ModelLoadError` if they don't fit together."""

    def part(suffix: str, dtype: torch.dtype) -> Tensor:
        found = tensors.get(name + suffix)
        if found is None or found.dtype != dtype:
            raise ModelLoadError(f"'{name}{suffix}' is missing or not {dtype}; take the model again.")
        return found.reshape(-1)

    def hold(holds: bool, what: str) -> None:
        if not holds:
            raise ModelLoadError(f"'{name}' is quantized in a way that can't be read: {what}.")

    raw = part(STATE_SUFFIX, torch.uint8)
    hold(raw.numel() <= _MAX_STATE_BYTES, "its description is too long")
    try:
        state = msgspec.json.decode(bytes(raw.tolist()), type=_State)
    except msgspec.MsgspecError as error:
        raise ModelLoadError(f"'{name}{STATE_SUFFIX}' is damaged ({error}); take the model again.") from error
    hold(state.quant_type == "nf4" and state.dtype in _DTYPES, f"{state.quant_type} of {state.dtype}")
    hold(state.blocksize in BLOCK_SIZES, f"blocks of {state.blocksize}")
    hold(all(size > 0 for size in state.shape), f"shape {state.shape}")
    values = part(".quant_map", torch.float32)
    hold(values.numel() == 16 and torch.allclose(values, _values(values.device)), "its values aren't NF4")
    count = prod(state.shape)
    blocks = -(-count // state.blocksize)
    packed = part("", torch.uint8).unsqueeze(1)
    hold(packed.numel() == -(-count // 2), f"{packed.numel()} bytes for {count} values")
    scales: Tensor | NestedScales
    if state.nested_blocksize:
        hold(state.nested_blocksize == NESTED_BLOCK, f"nested blocks of {state.nested_blocksize}")
        outer, code = part(".nested_absmax", torch.float32), part(".nested_quant_map", torch.float32)
        hold(
            outer.numel() == -(-blocks // NESTED_BLOCK) and code.numel() == 256,
            "nested scales of other sizes",
        )
        scales = NestedScales(part(".absmax", torch.uint8), outer, code, state.nested_offset)
        hold(scales.indices.numel() == blocks, "scales of another size")
    else:
        scales = part(".absmax", torch.float32)
        hold(scales.numel() == blocks, "scales of another size")
    return Nf4Tensor(packed, scales, tuple(state.shape), _DTYPES[state.dtype], state.blocksize)


def dynamic_map() -> Tensor:
    """The signed 8-bit dynamic map, fp32 [256], ascending (arXiv 2110.02861, section 2.1).

    Seven decades; in the decade 10^(i - 6), 2^i linear fractions of each sign, at the middle of even parts of
    [0.1, 1]; and 0 and 1.
    """
    values = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1, dtype=torch.float32)
        means = (10.0 ** (decade - 6) * ((edges[:-1] + edges[1:]) / 2)).tolist()
        values += means + [-mean for mean in means]
    return torch.tensor(sorted(values), dtype=torch.float32)


def _nearest(values: Tensor, code: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Indices (uint8 [n]) of the nearest `code` (ascending) after scaling, and each block's absmax (fp32)."""
    flat = values.reshape(-1).float()
    short = -flat.numel() % block
    blocks = torch.nn.functional.pad(flat, (0, short)).view(-1, block)
    absmax = blocks.abs().amax(dim=1)
    # The reciprocal, not a division: that is what bitsandbytes computes, and the last bit decides ties.
    scaled = (blocks * (1.0 / absmax.clamp(min=1e-38))[:, None]).clamp(-1, 1).reshape(-1)[: flat.numel()]
    edges = (code[:-1] + code[1:]) / 2
    return torch.bucketize(scaled, edges, out_int32=True).to(torch.uint8), absmax


def _values(device: torch.device) -> Tensor:
    return torch.tensor(NF4_VALUES, dtype=torch.float32, device=device)


def _pairs(device: torch.device) -> Tensor:
    """The two values that each byte stands for, fp32 [256, 2]."""
    values = _values(device)
    return torch.cartesian_prod(values, values)
