"""What a hybrid model remembers of a prompt: shared spans of keys and values, and the recurrent state.

Invariant: a position of a span is written once. A span only ever grows at its end, and views name the part
they may read, so a view taken earlier never sees anything else, whoever appends later.

        span A   0 ─────────────── 1200          one buffer, 1200 tokens written
        version 1  [A 0:1200]                    may append to A (its view ends where A ends)
        version 2  [A 0:800] [B 800:950]         diverged at 800: its own tokens go to span B
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from deltaloom_model.loading.config import HybridConfig

_SMALLEST_SPAN = 64
_MOST_VIEWS = 8
_SHORT_SPAN = 1024


class KVSpan:
    """Keys and values of consecutive tokens: two buffers [attention layers, key heads, capacity, width].

    `length` tokens are written. Shared by reference: Python's reference counts free it.
    """

    __slots__ = ("__weakref__", "keys", "length", "values")

    def __init__(self, config: HybridConfig, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (len(config.attention_layers), config.num_key_value_heads, capacity, config.head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    @classmethod
    def of(cls, keys: Tensor, values: Tensor) -> KVSpan:
        """A full span of these tensors, [attention layers, key heads, length, width] each."""
        span = cls.__new__(cls)
        span.keys, span.values, span.length = keys, values, keys.shape[2]
        return span

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    @property
    def nbytes(self) -> int:
        return 2 * self.keys.numel() * self.keys.element_size()


@dataclass(frozen=True, slots=True)
class SpanView:
    """The first `length` tokens of a span: what one version of a context may read of it."""

    span: KVSpan
    length: int


@dataclass(frozen=True, slots=True)
class SavedState:
    """An immutable copy of a state at one position. Its tensors and views are never written again.

    recurrent: [linear layers, K, G, d, e], at least fp32. conv: [linear layers, conv channels, kernel - 1].
    """

    position: int
    recurrent: Tensor
    conv: Tensor
    views: tuple[SpanView, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the recurrent and conv state; the spans are shared and counted apart."""
        return sum(x.numel() * x.element_size() for x in (self.recurrent, self.conv))


@dataclass(frozen=True, slots=True)
class Capture:
    """Where the state in the middle of a pass goes: shapes as in `SavedState`."""

    recurrent: Tensor
    conv: Tensor


class HybridState:
    """The state a forward pass reads and brings along: `position` tokens have been read.

    Not thread-safe: one forward thread owns it.
    """

    def __init__(self, config: HybridConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._config, self._dtype, self._device = config, dtype, device
        self.position = 0
        linear = len(config.linear_layers)
        keys = config.linear_num_key_heads
        groups = config.linear_num_value_heads // keys
        self.recurrent = torch.zeros(
            (linear, keys, groups, config.linear_key_head_dim, config.linear_value_head_dim),
            dtype=torch.promote_types(dtype, torch.float32),
            device=device,
        )
        self.conv = torch.zeros(
            (linear, config.conv_dim, config.linear_conv_kernel_dim - 1), dtype=dtype, device=device
        )
        self.views: list[SpanView] = []
        self.captures: dict[int, Capture] = {}
        self._tail: tuple[KVSpan, int] | None = None
        self._last_pass = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of keys, values and the conv state."""
        return self._dtype

    def kv_shape(self, tokens: int) -> tuple[int, int, int, int]:
        """The shape of keys, and of values, of so many tokens."""
        config = self._config
        return (len(config.attention_layers), config.num_key_value_heads, tokens, config.head_dim)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values over all attention layers."""
        return 2 * math.prod(self.kv_shape(1)) * self._dtype.itemsize

    def append_read(self, keys: Tensor, values: Tensor) -> None:
        """Take tokens as read whose keys and values [layers, Hk, T, d] are known; room was reserved."""
        last, tokens = self.views[-1], keys.shape[2]
        assert self._may_append(tokens), "reserve() comes before append_read()"
        part = slice(last.length, last.length + tokens)
        last.span.keys[:, :, part] = keys.to(last.span.keys.device)
        last.span.values[:, :, part] = values.to(last.span.values.device)
        last.span.length += tokens
        self.views[-1] = SpanView(last.span, last.span.length)
        self.position += tokens

    def save(self) -> SavedState:
        """A copy of this state that later forward passes leave alone."""
        return SavedState(self.position, self.recurrent.clone(), self.conv.clone(), tuple(self.views))

    def restore(self, saved: SavedState) -> None:
        """Take up `saved`, at its own position."""
        self.position = saved.position
        self.recurrent.copy_(saved.recurrent)
        self.conv.copy_(saved.conv)
        self.views = list(saved.views)

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more: in the last span where this state may append, else in a new one.

        A new span first takes in the short ones before it, so that however often a text diverges, attention
        runs over a few spans.
        """
        if self.views and self._may_append(tokens):
            return
        short: list[SpanView] = []
        if len(self.views) >= _MOST_VIEWS:
            while self.views and self.views[-1].length < _SHORT_SPAN:
                short.insert(0, self.views.pop())
        self.fork_tail(sum(view.length for view in short) + tokens)
        span = self.views[-1].span
        for view in short:
            part = slice(span.length, span.length + view.length)
            span.keys[:, :, part] = view.span.keys[:, :, : view.length]
            span.values[:, :, part] = view.span.values[:, :, : view.length]
            span.length += view.length
        self.views[-1] = SpanView(span, span.length)

    def fork_tail(self, tokens: int) -> None:
        """Send what comes next to a span of its own, so that nothing kept can ever hold it."""
        span = KVSpan(self._config, max(tokens, _SMALLEST_SPAN), self._dtype, self._device)
        self.views.append(SpanView(span, 0))

    def capture(self, offsets: Iterable[int]) -> None:
        """Have the next pass save the states after so many of its tokens, each a multiple of 64."""
        self.captures = {
            offset: Capture(torch.empty_like(self.recurrent), torch.empty_like(self.conv))
            for offset in offsets
        }

    def take_captured(self) -> list[SavedState]:
        """After a pass: the states asked for with `capture`, in order of position."""
        captures, self.captures = self.captures, {}
        tail, read = self.views[-1], self._last_pass
        before = tuple(self.views[:-1])
        return [
            SavedState(
                self.position - read + offset,
                capture.recurrent,
                capture.conv,
                (*before, SpanView(tail.span, tail.length - read + offset)),
            )
            for offset, capture in sorted(captures.items())
        ]

    def begin(self, tokens: int) -> None:
        """Before a forward pass over `tokens` tokens: fix where their keys and values go."""
        self.reserve(tokens)
        last = self.views[-1]
        self._tail = (last.span, last.length)

    def earlier(self, layer: int) -> list[tuple[Tensor, Tensor]]:
        """Keys and values [Hk, N, d] of one attention layer, span by span, of all tokens before this pass."""
        return [
            (view.span.keys[layer, :, : view.length], view.span.values[layer, :, : view.length])
            for view in self.views
            if view.length
        ]

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store [Hk, T, d] of the tokens of this pass."""
        assert self._tail is not None, "begin() comes before write()"
        span, start = self._tail
        span.keys[layer, :, start : start + keys.shape[1]] = keys
        span.values[layer, :, start : start + keys.shape[1]] = values

    def finish(self, tokens: int) -> None:
        """After a forward pass: the tokens count as read."""
        assert self._tail is not None, "begin() comes before finish()"
        span, start = self._tail
        span.length = start + tokens
        self.views[-1] = SpanView(span, span.length)
        self.position += tokens
        self._last_pass = tokens
        self._tail = None

    def _may_append(self, tokens: int) -> bool:
        last = self.views[-1]
        return last.length == last.span.length and last.length + tokens <= last.span.capacity


def span_bytes(views: Iterable[SpanView]) -> int:
    """Bytes of the distinct spans behind these views."""
    return sum(span.nbytes for span in {id(view.span): view.span for view in views}.values())
