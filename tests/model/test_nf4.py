"""NF4: bytes, scales and values are bitsandbytes' own on the CPU, and either reads the other's tensors.

Two things in bitsandbytes 0.50 are kept out of the comparison, each said where it is: its 8-bit search picks
the farther of two neighbours for some scales near their midpoint, and its CPU kernel reads wrong scales where
a row isn't made of whole blocks.
"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from bitsandbytes import functional as bnb
from torch import Tensor

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.quantization.nf4 import (
    NF4_VALUES,
    STATE_SUFFIX,
    NestedScales,
    dequantize_nf4,
    dynamic_map,
    pack_tensors,
    quantize_nf4,
    unpack_tensors,
)

SHAPES = [(64, 64), (1536, 128), (3, 40), (256, 65), (1, 1), (7, 9), (512, 320)]


def weights(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    weight = torch.randn(shape, generator=generator) * 0.05
    if weight.numel() > 128:
        weight.view(-1)[:64] = 0  # a block of zeros
        weight.view(-1)[100] = 3.0  # an outlier
    return weight.to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nested", [False, True])
def test_quantizing_gives_bitsandbytes_bytes(
    shape: tuple[int, ...], dtype: torch.dtype, nested: bool
) -> None:
    weight = weights(shape, dtype)
    theirs, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=nested, quant_type="nf4")
    ours = quantize_nf4(weight, nested=nested)
    assert torch.equal(ours.packed, theirs)
    if nested:
        assert isinstance(ours.scales, NestedScales)
        assert_as_near(weight, ours.scales, state)
        assert torch.equal(ours.scales.absmax, state.state2.absmax)
        assert ours.scales.offset == state.offset.item()
    else:
        assert torch.equal(ours.absmax(), state.absmax)


def assert_as_near(weight: Tensor, ours: NestedScales, theirs: bnb.QuantState) -> None:
    """Our 8-bit scales are theirs, except where theirs are farther from the exact scale than ours."""
    differs = ours.indices != theirs.absmax
    exact = quantize_nf4(weight, nested=False).absmax()
    outer = ours.absmax[torch.arange(len(exact)) // 256]
    their_scales = ours.code[theirs.absmax.long()] * outer + ours.offset
    our_error, their_error = (ours.expand() - exact).abs(), (their_scales - exact).abs()
    assert (our_error <= their_error).all()
    # A lone block is its own mean: its scale is 0 in any entry of the map.
    assert len(exact) == 1 or differs.float().mean() < 0.05


@pytest.mark.parametrize("shape", [*SHAPES, (4, 96)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("blocksize", [64, 128])
def test_dequantizing_gives_bitsandbytes_values(
    shape: tuple[int, ...], dtype: torch.dtype, nested: bool, blocksize: int
) -> None:
    weight = weights(shape, dtype)
    packed, state = bnb.quantize_4bit(
        weight, blocksize=blocksize, compress_statistics=nested, quant_type="nf4"
    )
    tensors = {"w": packed} | {f"w.{k}": v for k, v in state.as_dict(packed=True).items()}
    if shape[-1] % blocksize:
        state.shape = torch.Size([weight.numel()])  # one long row, which its CPU kernel reads correctly
    theirs = bnb.dequantize_4bit(packed, state)
    ours = dequantize_nf4(unpack_tensors("w", tensors))
    assert ours.dtype == dtype
    assert ours.shape == weight.shape
    assert torch.equal(ours, theirs.reshape(shape))


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_reads_our_tensors(nested: bool) -> None:
    weight = weights((96, 128), torch.bfloat16)
    ours = quantize_nf4(weight, nested=nested)
    tensors = pack_tensors("m.w", ours)
    state = bnb.QuantState.from_dict(
        {k.removeprefix("m.w."): v for k, v in tensors.items() if k != "m.w"}, torch.device("cpu")
    )
    assert torch.equal(bnb.dequantize_4bit(tensors["m.w"], state), dequantize_nf4(ours))


def test_tensor_names_are_bitsandbytes_own() -> None:
    weight = weights((64, 64))
    _, state = bnb.quantize_4bit(weight, compress_statistics=True, quant_type="nf4")
    theirs = {f"w.{key}" for key in state.as_dict(packed=True)} | {"w"}
    assert set(pack_tensors("w", quantize_nf4(weight))) == theirs


def test_dynamic_map_is_bitsandbytes_own() -> None:
    assert torch.equal(dynamic_map(), bnb.create_dynamic_map())


def test_error_is_within_half_the_widest_gap_of_each_block() -> None:
    weight = weights((128, 256))
    back = dequantize_nf4(quantize_nf4(weight, nested=False))
    gap = max(b - a for a, b in pairwise(NF4_VALUES))
    bound = weight.view(-1, 64).abs().amax(dim=1, keepdim=True) * gap / 2 + 1e-6
    assert ((weight - back).view(-1, 64).abs() <= bound).all()


def test_dequantizing_to_another_dtype_rounds_once() -> None:
    quantized = quantize_nf4(weights((64, 64)))
    exact = dequantize_nf4(quantized, torch.float32)
    assert torch.equal(dequantize_nf4(quantized, torch.bfloat16), exact.to(torch.bfloat16))


def packed_example(**changes: object) -> dict[str, Tensor]:
    tensors = pack_tensors("w", quantize_nf4(weights((64, 64))))
    state = json.loads(bytes(tensors["w" + STATE_SUFFIX].tolist())) | changes
    tensors["w" + STATE_SUFFIX] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    return tensors


@pytest.mark.parametrize(
    "changes",
    [
        {"quant_type": "fp4"},
        {"blocksize": 63},
        {"blocksize": "64"},
        {"blocksize": 128},
        {"shape": [64, 65]},
        {"shape": [-64, -64]},
        {"shape": None},
        {"dtype": "int8"},
        {"nested_blocksize": 128},
        {"nested_blocksize": 0},
        {"nested_offset": "x"},
    ],
)
def test_a_description_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ModelLoadError) as caught:
        unpack_tensors("w", packed_example(**changes))
    assert "'w" in str(caught.value)


@pytest.mark.parametrize("suffix", ["", ".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map"])
def test_a_missing_or_short_part_is_refused(suffix: str) -> None:
    tensors = packed_example()
    whole = tensors.pop("w" + suffix)
    with pytest.raises(ModelLoadError):
        unpack_tensors("w", tensors)
    with pytest.raises(ModelLoadError):
        unpack_tensors("w", tensors | {"w" + suffix: whole.reshape(-1)[:-1]})


def test_other_quantiles_than_nf4_are_refused() -> None:
    tensors = packed_example()
    tensors["w.quant_map"] = torch.linspace(-1, 1, 16)
    with pytest.raises(ModelLoadError, match="NF4"):
        unpack_tensors("w", tensors)
