"""Reading known tokens into a state, counted and in chunks on an absolute grid.

Invariants: every token that enters layer 0 goes through `Reader.read` and is counted there by cause; a
chunk's edges depend only on positions (multiples of the grid, and checkpoint places), never on where a
restore began, so that a warm and a cold read of the same tokens chunk alike.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from deltaloom_model.api import CAUSES, Cause
from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.token_sequence import TokenIds

_STEP_SECONDS = 0.05
_LARGEST_GRID = 4096


class Reader:
    """The only way tokens reach the model. `counters` counts them by cause since the worker started."""

    def __init__(self, model: HybridModel) -> None:
        self.model = model
        self.counters: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self.grid = 256

    def read(self, state: HybridState, ids: TokenIds, cause: Cause) -> Tensor:
        """Bring `state` along by `ids` (int32 [n], n > 0); returns the last token's hidden state [hidden]."""
        with torch.inference_mode():
            tokens = torch.from_numpy(ids.astype("int64")).to(self.model.device)
            hidden = self.model(tokens.unsqueeze(0), state)
        self.counters[cause] += len(ids)
        return hidden[0, -1].clone()

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [vocabulary] from a hidden state [hidden], at least fp32."""
        with torch.inference_mode():
            return self.model.logits(hidden)

    def calibrate(self) -> None:
        """Choose the grid: the multiple of 64, up to 4096, that reads in about 50 ms on this machine.

        These tokens are read into a state that is thrown away, before any context exists; not counted.
        """
        sample = torch.zeros((1, 256), dtype=torch.int64, device=self.model.device)
        best = float("inf")
        with torch.inference_mode():
            for _ in range(3):
                began = time.perf_counter()
                self.model(sample, self.model.new_state()).sum().item()
                best = min(best, time.perf_counter() - began)
        chunks = max(1, int(_STEP_SECONDS / best * sample.shape[1]) // CHUNK)
        # A power of two, so that small changes of speed between runs rarely change the grid.
        self.grid = min(_LARGEST_GRID, CHUNK << (chunks.bit_length() - 1))


def chunk_edges(start: int, end: int, grid: int, places: Collection[int] = ()) -> Iterator[int]:
    """The positions, ascending and ending with `end`, at which reading [start, end) stops in between."""
    edges = set(range(start - start % grid + grid, end, grid))
    edges.update(place for place in places if start < place < end)
    if end > start:
        edges.add(end)
    yield from sorted(edges)
