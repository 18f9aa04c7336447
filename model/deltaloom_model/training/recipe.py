"""What nano is and how it is trained: one frozen recipe, stored with every run.

The size follows from the time: at some 1e15 multiply-adds (90 minutes on two cores) the usual scaling
estimate (arXiv 2203.15556: 406 / N^0.34 + 411 / D^0.28) is flat between 3 and 7 million active parameters,
so nano takes the upper end of that, and three Gated DeltaNet layers to one Gated Attention layer with routed
and shared experts, like its big relatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from deltaloom_model.loading.config import HybridConfig

END_OF_TEXT = 16_375
"""`<|endoftext|>` in nano's vocabulary; the corpus code checks it against the tokenizer."""


def nano_config(vocab_size: int = 16_384, end_of_text: int = END_OF_TEXT) -> HybridConfig:
    """Eight layers, hidden size 192, eight experts (two chosen) of 128 and a shared one of 192."""
    return HybridConfig(
        vocab_size=vocab_size,
        hidden_size=192,
        num_hidden_layers=8,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=64,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=64,
        linear_value_head_dim=48,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=128,
        shared_expert_intermediate_size=192,
        max_position_embeddings=8_192,
        rope_theta=100_000.0,
        partial_rotary_factor=0.25,
        tie_word_embeddings=True,
        eos_token_ids=(end_of_text,),
    )


@dataclass(frozen=True)
class Stage:
    """Train on the folder's sequences until `until` (share of the whole budget), `batch` sequences a step."""

    data: str
    until: float
    batch: int


@dataclass(frozen=True)
class Recipe:
    """Learning rates are for a Muon update scaled like AdamW's; `seconds` is the budget of training time."""

    seconds: float
    stages: tuple[Stage, ...]
    lr: float = 4e-3
    embedding_lr: float = 3e-3
    warmup_steps: int = 40
    decay_from: float = 0.45
    balance: float = 0.01
    clip: float = 1.0
    seed: int = 1
    config: HybridConfig = field(default_factory=nano_config)

    def lr_scale(self, step: int, progress: float) -> float:
        """Warm up by steps, hold, then fall linearly to 2% by the end of the budget."""
        warm = min(1.0, (step + 1) / self.warmup_steps)
        if progress <= self.decay_from:
            return warm
        return warm * max(0.02, (1.0 - progress) / (1.0 - self.decay_from))
