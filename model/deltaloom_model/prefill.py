"""Reading known tokens into a state, counted and in passes on an absolute grid.

Invariants: every token that enters layer 0 goes through `Reader.read` and is counted there by cause; where
passes end depends only on positions (multiples of the grid, and places asked for), but for the pieces around
a place where reading begins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from deltaloom_model.api import CAUSES, Cause
from deltaloom_model.hybrid_cache import HybridState, SavedState
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.kernels.gated_delta_rule import CHUNK
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.token_sequence import TokenIds

_STEP_SECONDS = 0.05
_LARGEST_GRID = 4096


class ReadCost:
    """What reading costs, in FLOPs: a constant for each token, and attention to all before it."""

    def __init__(self, config: HybridConfig, active_parameters: int) -> None:
        self.each = 2.0 * active_parameters
        self.per_position = 4.0 * len(config.attention_layers) * config.num_attention_heads * config.head_dim

    def __call__(self, start: int, end: int) -> float:
        """Of reading tokens [start, end), where all before them are held."""
        attended = (end * (end - 1) - start * (start - 1)) / 2
        return self.each * (end - start) + self.per_position * attended


class Reader:
    """The only way tokens reach the model. `counters` counts them by cause since the worker started."""

    def __init__(self, model: HybridModel) -> None:
        self.model = model
        self.counters: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        self.grid = 256
        self._best_rate = 0.0  # FLOPs a second; 0 before `calibrate`: the grid stays as it is set
        self.cost = ReadCost(model.config, active_parameters(model))

    def read(
        self, state: HybridState, ids: TokenIds, cause: Cause, tally: dict[str, int] | None = None
    ) -> Tensor:
        """Bring `state` along by `ids` (int32 [n], n > 0); returns the last token's hidden state [hidden].

        `tally` counts them as well, for one request.
        """
        return self.read_with_captures(state, ids, cause, (), tally)[0]

    def read_with_captures(
        self,
        state: HybridState,
        ids: TokenIds,
        cause: Cause,
        offsets: Collection[int],
        tally: dict[str, int] | None = None,
    ) -> tuple[Tensor, list[tuple[SavedState, Tensor]]]:
        """The same, and the state with the hidden state after each of these many tokens (multiples of 64)."""
        began, start = time.perf_counter(), state.position
        with torch.inference_mode():
            if offsets:
                state.capture(offsets)
            tokens = torch.from_numpy(ids.astype("int64")).to(self.model.device)
            hidden = self.model(tokens.unsqueeze(0), state)[0]
            captured = state.take_captured() if offsets else []
            inner = [(saved, hidden[saved.position - start - 1].clone()) for saved in captured]
            last = hidden[-1]
            if self._best_rate and len(ids) >= CHUNK:
                self._wait()
                self._learn(self.cost(start, state.position), time.perf_counter() - began)
        self.counters[cause] += len(ids)
        if tally is not None:
            tally[cause] = tally.get(cause, 0) + len(ids)
        return last.clone(), inner

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [vocabulary] from a hidden state [hidden], at least fp32."""
        with torch.inference_mode():
            return self.model.logits(hidden)

    def grid_at(self, position: int) -> int:
        """The grid there: as many tokens as take about 50 ms, for attention to all before them grows."""
        heavier = (self.cost.each + self.cost.per_position * position) / self.cost.each
        grid = self.grid
        while grid > CHUNK and grid * heavier > self.grid:
            grid //= 2
        return grid

    def calibrate(self) -> None:
        """Choose the grid: the multiple of 64, up to 4096, that reads in about 50 ms on this machine.

        These tokens are read into a state that is thrown away, before any context exists; not counted. Later
        passes raise it where they turn out faster: the machine may be busy just now.
        """
        sample = torch.zeros((1, 256), dtype=torch.int64, device=self.model.device)
        with torch.inference_mode():
            for _ in range(3):
                began = time.perf_counter()
                self.model(sample, self.model.new_state())
                self._wait()
                self._learn(self.cost(0, sample.shape[1]), time.perf_counter() - began)

    def _learn(self, cost: float, seconds: float) -> None:
        # The best rate seen, for whatever slows a pass down is not the model's doing; so a busy moment makes
        # no pass shorter, only an idle one makes them longer.
        self._best_rate = max(self._best_rate, cost / max(seconds, 1e-9))
        chunks = max(1, int(_STEP_SECONDS * self._best_rate / self.cost.each) // CHUNK)
        # A power of two, so that small changes of speed between runs rarely change the grid.
        self.grid = min(_LARGEST_GRID, CHUNK << (chunks.bit_length() - 1))

    def _wait(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)


def active_parameters(model: HybridModel) -> int:
    """Parameters that take part in reading one token: of the experts only as many as are chosen."""
    config = model.config
    total = 0.0
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            total += parameter.numel() * config.num_experts_per_tok / config.num_experts
        elif "embed_tokens" not in name and "lm_head" not in name:
            total += parameter.numel()
    return int(total)


@dataclass(frozen=True, slots=True)
class Pass:
    """Tokens [start, end) in one forward pass, and the positions inside it where the state is captured."""

    start: int
    end: int
    captures: tuple[int, ...]


def passes(
    start: int,
    end: int,
    grid_at: Callable[[int], int],
    edges: Collection[int] = (),
    captures: Collection[int] = (),
) -> Iterator[Pass]:
    """How [start, end) is read: no pass is longer than the grid, one ends at each of `edges`.

    A state can be captured only a multiple of 64 after a pass begins: where a wanted place would be missed
    because reading begins between such multiples, a short pass comes first. Other places are passed over.
    """
    forced = sorted(place for place in edges if start < place < end)
    wanted = sorted(place for place in captures if start < place < end)
    at = start
    while at < end:
        grid = grid_at(at)
        stop = min(at - at % grid + grid, next((edge for edge in forced if edge > at), end))
        inside = [place for place in wanted if at < place < stop]
        if inside and (inside[0] - at) % CHUNK:
            stop, inside = inside[0], []
        yield Pass(at, stop, tuple(place for place in inside if (place - at) % CHUNK == 0))
        at = stop
