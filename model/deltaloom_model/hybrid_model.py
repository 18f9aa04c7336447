"""The forward pass of Qwen3-Next-like models: Gated DeltaNet, Gated Attention, sparse mixture of experts.

Invariant: logits equal transformers' `Qwen3NextForCausalLM` on the same weights (fp32, 1e-4), however the
tokens are split over calls. Parameters carry the Hub's own names; only the experts of a layer are stacked.

Sources: Gated DeltaNet (arXiv 2412.06464); gated attention (arXiv 2505.06708); the Qwen3-Next config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaloom_model.hybrid_cache import HybridState
from deltaloom_model.kernels.gated_delta_rule import CHUNK, gated_delta_rule, l2_normalize
from deltaloom_model.kernels.span_attention import causal_attention, span_attention
from deltaloom_model.loading.config import HybridConfig


def _linear(inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


class RMSNorm(nn.Module):
    """`x / rms(x) * (1 + weight)`, computed in at least fp32 (zero-centred weight)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + self.eps)
        return (exact * (1.0 + self.weight.to(exact.dtype))).to(x.dtype)


class GatedRMSNorm(nn.Module):
    """`weight * x / rms(x) * silu(gate)`: the norm at the end of a Gated DeltaNet layer."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        exact = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        normed = self.weight * exact.to(gate.dtype)
        return (normed * F.silu(gate.to(exact.dtype))).to(gate.dtype)


class GatedDeltaNet(nn.Module):
    """Linear attention with a recurrent state of constant size. `index` counts the linear layers."""

    def __init__(self, config: HybridConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        hidden, value_heads = config.hidden_size, config.linear_num_value_heads
        self.in_proj_qkvz = _linear(hidden, 2 * config.key_dim + 2 * config.value_dim)
        self.in_proj_ba = _linear(hidden, 2 * value_heads)
        channels, kernel = config.conv_dim, config.linear_conv_kernel_dim
        self.conv1d = nn.Conv1d(channels, channels, kernel, groups=channels, bias=False)
        self.A_log = nn.Parameter(torch.zeros(value_heads))
        self.dt_bias = nn.Parameter(torch.ones(value_heads))
        self.norm = GatedRMSNorm(config.linear_value_head_dim, config.rms_norm_eps)
        self.out_proj = _linear(config.value_dim, hidden)

    def forward(self, x: Tensor, state: HybridState | None) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]; brings the recurrent and conv state along when given (B = 1)."""
        config = self.config
        heads = config.linear_num_key_heads
        groups = config.linear_num_value_heads // heads
        width, value_width = config.linear_key_head_dim, config.linear_value_head_dim
        # The projections interleave by key head: [q | k | values of its group | gates of its group].
        mixed = self.in_proj_qkvz(x).unflatten(-1, (heads, -1))
        q, k, v, z = mixed.split((width, width, groups * value_width, groups * value_width), dim=-1)
        b, a = self.in_proj_ba(x).unflatten(-1, (heads, 2 * groups)).split((groups, groups), dim=-1)

        qkv = self._convolve(torch.cat([part.flatten(2) for part in (q, k, v)], dim=-1), state)
        q, k, v = qkv.split((config.key_dim, config.key_dim, config.value_dim), dim=-1)
        exact = torch.promote_types(x.dtype, torch.float32)
        q, k = (l2_normalize(part.unflatten(-1, (heads, width)).to(exact)) for part in (q, k))
        v = v.unflatten(-1, (heads, groups, value_width)).to(exact)
        rate = self.A_log.to(exact).exp().view(heads, groups)
        decay = -rate * F.softplus(a.to(exact) + self.dt_bias.to(exact).view(heads, groups))
        beta = b.sigmoid().to(exact)
        held = state.recurrent[self.index].unsqueeze(0) if state is not None else None
        passed: list[Tensor] | None = [] if state is not None and state.captures else None
        with torch.autocast(x.device.type, enabled=False):
            out, after = gated_delta_rule(q * width**-0.5, k, v, decay, beta, held, passed)
        if state is not None:
            state.recurrent[self.index] = after[0]
            for offset, capture in state.captures.items():
                assert passed is not None
                capture.recurrent[self.index] = passed[offset // CHUNK - 1][0]
        z = z.unflatten(-1, (groups, value_width))
        return self.out_proj(self.norm(out, z).flatten(2))

    def _convolve(self, x: Tensor, state: HybridState | None) -> Tensor:
        """Causal depthwise convolution and SiLU over [B, T, channels]; its window goes on from the state."""
        weight = self.conv1d.weight.squeeze(1)  # [channels, kernel], newest token last
        kernel, tokens = weight.shape[1], x.shape[1]
        if state is None:
            window = F.pad(x, (0, 0, kernel - 1, 0))
        else:
            window = torch.cat((state.conv[self.index].t().unsqueeze(0), x), dim=1)
            state.conv[self.index] = window[0, -(kernel - 1) :].t()
            for offset, capture in state.captures.items():
                capture.conv[self.index] = window[0, offset : offset + kernel - 1].t()
        weight = weight.to(x.dtype)
        out = window[:, :tokens] * weight[:, 0]
        for tap in range(1, kernel):
            out = torch.addcmul(out, window[:, tap : tap + tokens], weight[:, tap])
        return F.silu(out)


class GatedAttention(nn.Module):
    """Grouped-query attention with partial rotary, normed queries and keys, and an output gate."""

    def __init__(self, config: HybridConfig, index: int) -> None:
        super().__init__()
        self.config, self.index = config, index
        hidden, width, bias = config.hidden_size, config.head_dim, config.attention_bias
        self.q_proj = _linear(hidden, config.num_attention_heads * width * 2, bias)
        self.k_proj = _linear(hidden, config.num_key_value_heads * width, bias)
        self.v_proj = _linear(hidden, config.num_key_value_heads * width, bias)
        self.o_proj = _linear(config.num_attention_heads * width, hidden, bias)
        self.q_norm = RMSNorm(width, config.rms_norm_eps)
        self.k_norm = RMSNorm(width, config.rms_norm_eps)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], state: HybridState | None) -> Tensor:
        """[B, T, hidden] -> [B, T, hidden]; reads and extends the state's spans when given (B = 1)."""
        width = self.config.head_dim
        q, gate = self.q_proj(x).unflatten(-1, (-1, 2 * width)).split((width, width), dim=-1)
        q = _rotate(self.q_norm(q).transpose(1, 2), rotary)
        k = _rotate(self.k_norm(self.k_proj(x).unflatten(-1, (-1, width))).transpose(1, 2), rotary)
        v = self.v_proj(x).unflatten(-1, (-1, width)).transpose(1, 2)
        if state is None:
            out = causal_attention(q, k, v)
        else:
            out = span_attention(q[0], state.earlier(self.index), k[0], v[0]).unsqueeze(0)
            state.write(self.index, k[0], v[0])
        out = out.transpose(1, 2).flatten(2) * gate.flatten(2).sigmoid()
        return self.o_proj(out)


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the first `rotary_dim` entries of [B, H, T, d] by half-split pairs; the rest pass."""
    cos, sin = (table.to(x.dtype) for table in rotary)
    size = cos.shape[-1]
    turned, passed = x[..., :size], x[..., size:]
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned, passed), dim=-1)


class MLP(nn.Module):
    """SwiGLU: `down(silu(gate(x)) * up(x))`."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.gate_proj = _linear(hidden, intermediate)
        self.up_proj = _linear(hidden, intermediate)
        self.down_proj = _linear(intermediate, hidden)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Experts(nn.Module):
    """All experts of a layer, stacked: gate_up_proj [E, 2 * inner, hidden], down_proj [E, hidden, inner]."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        experts, hidden, inner = config.num_experts, config.hidden_size, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * inner, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, inner))

    def one(self, expert: int, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.gate_up_proj[expert]).chunk(2, dim=-1)
        return F.linear(F.silu(gate) * up, self.down_proj[expert])

    def forward(self, x: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """x [N, hidden], chosen experts and their weights [N, k] -> [N, hidden]; only chosen experts run."""
        if x.shape[0] == 1:
            rows = [self.one(expert, x) for expert in chosen[0].tolist()]
            return weights.to(x.dtype) @ torch.cat(rows)
        order = chosen.flatten().argsort(stable=True)
        token = order // chosen.shape[1]
        counts = torch.bincount(chosen.flatten(), minlength=self.gate_up_proj.shape[0]).tolist()
        inputs = x[token]
        parts = [self.one(expert, part) for expert, part in enumerate(inputs.split(counts)) if part.shape[0]]
        out = torch.cat(parts) * weights.flatten()[order].unsqueeze(-1)
        # fp32 sums: the order in which experts are added must not show in bf16's rounding.
        total = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
        return total.index_add(0, token, out.to(total.dtype)).to(x.dtype)


class SparseMoE(nn.Module):
    """Top-k routed experts plus one shared expert behind a gate.

    `routing`, when set to a list, collects (router logits [N, E], chosen [N, k]) of each pass: training's
    load-balancing loss and tests read it.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = _linear(config.hidden_size, config.num_experts)
        self.experts = Experts(config)
        self.shared_expert = MLP(config.hidden_size, config.shared_expert_intermediate_size)
        self.shared_expert_gate = _linear(config.hidden_size, 1)
        self.routing: list[tuple[Tensor, Tensor]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        logits = self.gate(flat)
        scores = torch.softmax(logits, -1, dtype=torch.promote_types(logits.dtype, torch.float32))
        weights, chosen = scores.topk(self.config.num_experts_per_tok, dim=-1)
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        if self.routing is not None:
            self.routing.append((logits, chosen))
        out = self.experts(flat, chosen, weights)
        out = out + self.shared_expert_gate(flat).sigmoid() * self.shared_expert(flat)
        return out.reshape(x.shape)


class Layer(nn.Module):
    """One decoder layer: token mixer, then MLP or experts, each behind a norm and a residual."""

    def __init__(self, config: HybridConfig, index: int, mixer_index: int) -> None:
        super().__init__()
        self.linear = config.is_linear_layer(index)
        if self.linear:
            self.linear_attn = GatedDeltaNet(config, mixer_index)
        else:
            self.self_attn = GatedAttention(config, mixer_index)
        if config.is_moe_layer(index):
            self.mlp: nn.Module = SparseMoE(config)
        else:
            self.mlp = MLP(config.hidden_size, config.intermediate_size)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor], state: HybridState | None) -> Tensor:
        normed = self.input_layernorm(x)
        x = x + (self.linear_attn(normed, state) if self.linear else self.self_attn(normed, rotary, state))
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    """Embedding, layers, final norm (the Hub's `model.` prefix)."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        mixers = [0, 0]
        layers = []
        for index in range(config.num_hidden_layers):
            kind = int(config.is_linear_layer(index))
            layers.append(Layer(config, index, mixers[kind]))
            mixers[kind] += 1
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class HybridModel(nn.Module):
    """A Qwen3-Next-like causal language model. `forward` gives hidden states, `logits` the head's product."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = _linear(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        steps = torch.arange(0, config.rotary_dim, 2, dtype=torch.float32) / config.rotary_dim
        self.register_buffer("inverse_frequencies", 1.0 / config.rope_theta**steps, persistent=False)

    def forward(self, ids: Tensor, state: HybridState | None = None) -> Tensor:
        """ids int64 [B, T] -> final normed hidden states [B, T, hidden].

        With a state (B = 1) the tokens follow what it holds, and it is brought along; without, they stand
        at position 0 and nothing is kept.
        """
        tokens = ids.shape[1]
        if state is not None:
            state.begin(tokens)
        rotary = self.rotary(state.position if state is not None else 0, tokens)
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, rotary, state)
        if state is not None:
            state.finish(tokens)
        hidden: Tensor = self.model.norm(x)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., hidden] -> [..., vocabulary], in at least fp32."""
        out: Tensor = self.lm_head(hidden)
        return out.to(torch.promote_types(out.dtype, torch.float32))

    def rotary(self, start: int, tokens: int) -> tuple[Tensor, Tensor]:
        """cos and sin [T, rotary_dim] of positions start .. start + T, from fp32 position * frequency."""
        frequencies = self.inverse_frequencies
        assert isinstance(frequencies, Tensor)
        positions = torch.arange(start, start + tokens, dtype=torch.float32, device=frequencies.device)
        angles = positions.unsqueeze(-1) * frequencies.float()
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    @property
    def dtype(self) -> torch.dtype:
        return self.model.embed_tokens.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.model.embed_tokens.weight.device

    def new_state(self) -> HybridState:
        """An empty state for this model's shapes, dtype and device."""
        return HybridState(self.config, self.dtype, self.device)

    @torch.no_grad()
    def load_hub_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors by the Hub's names (one per expert and projection) into the parameters."""
        for name, slot in self.hub_slots():
            slot.copy_(tensors[name].reshape(slot.shape))

    def hub_slots(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight under the Hub's name, as a view: writing to it writes the parameter."""
        inner = self.config.moe_intermediate_size
        for name, parameter in self.named_parameters():
            match = re.fullmatch(r"(.*\.experts)\.(gate_up_proj|down_proj)", name)
            if match is None:
                yield name, parameter.data
                continue
            for expert in range(parameter.shape[0]):
                stem, matrix = f"{match[1]}.{expert}", parameter.data[expert]
                if match[2] == "down_proj":
                    yield f"{stem}.down_proj.weight", matrix
                else:
                    yield f"{stem}.gate_proj.weight", matrix[:inner]
                    yield f"{stem}.up_proj.weight", matrix[inner:]
