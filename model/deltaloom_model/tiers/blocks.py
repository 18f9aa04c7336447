"""Between a state and the arrays of a cache file.

Invariant: `put_block` leaves a state either extended by exactly the block's tokens or as it was.

Files hold numpy arrays; bfloat16, which numpy lacks, goes as its 16-bit patterns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltaloom_model.checkpoint import Checkpoint
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.tiers.block_file import Arrays, BlockRef


def block_arrays(checkpoint: Checkpoint, start: int) -> dict[str, NDArray[Any]]:
    """Keys and values [attention layers, key heads, tokens, width] from `start` on, and the state at the end.

    On the CPU these are views wherever one span holds it all: kept state is never written again.
    """
    state = checkpoint.state
    keys: list[Tensor] = []
    values: list[Tensor] = []
    at = 0
    for view in state.views:
        first = max(start - at, 0)
        if first < view.length:
            keys.append(view.span.keys[:, :, first : view.length])
            values.append(view.span.values[:, :, first : view.length])
        at += view.length
    return {
        "keys": _joined(keys),
        "values": _joined(values),
        "recurrent": _array(state.recurrent),
        "conv": _array(state.conv),
        "hidden": _array(checkpoint.hidden),
    }


def put_block(state: HybridState, arrays: Arrays, ref: BlockRef, end: int) -> bool:
    """Go on in `state`, which stands at the block's start, with the block's tokens; False if they don't fit.

    `end` is how far further blocks will lead: the span that is begun has room for them.
    """
    keys, values = arrays.get("keys"), arrays.get("values")
    recurrent, conv = arrays.get("recurrent"), arrays.get("conv")
    if keys is None or values is None or recurrent is None or conv is None or state.position != ref.start:
        return False
    tokens = ref.end - ref.start
    found = (keys.shape, values.shape, recurrent.shape, conv.shape)
    shape = state.kv_shape(tokens)
    if found != (shape, shape, tuple(state.recurrent.shape), tuple(state.conv.shape)):
        return False
    state.reserve(end - ref.start)
    state.append_read(_tensor(keys, state.dtype), _tensor(values, state.dtype))
    state.recurrent.copy_(_tensor(recurrent, state.recurrent.dtype))
    state.conv.copy_(_tensor(conv, state.conv.dtype))
    return True


def state_of_block(state: HybridState, arrays: Arrays) -> tuple[SavedState, Tensor]:
    """The state after the block, saved, and the last token's hidden state [hidden]."""
    return state.save(), _tensor(arrays["hidden"], state.dtype).to(state.recurrent.device)


def _array(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    return tensor.view(torch.int16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def _joined(parts: list[Tensor]) -> NDArray[Any]:
    arrays = [_array(part) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=2)


def _tensor(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(dtype) if dtype == torch.bfloat16 else tensor.to(dtype)
