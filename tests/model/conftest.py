"""Shared by the model tests: a small real tokenizer, trained on this repository's own sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from deltaloom_model.tokenizer import SegmentTokenizer

SOURCES = sorted((Path(__file__).parents[2] / "model").rglob("*.py"))
# The pattern that Qwen's published tokenizers split with.
QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Qwen publishes these as added tokens that are *not* special.
MARKERS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|repo_name|>", "<|file_sep|>")


def build_tokenizer(pattern: str = QWEN_PATTERN, vocabulary: int = 1200) -> bytes:
    """A byte-level BPE as Qwen publishes it (NFC, its split pattern, its added tokens), as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((path.read_text(encoding="utf-8") for path in SOURCES), trainer)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in MARKERS])
    return tokenizer.to_str().encode()


@pytest.fixture(scope="session")
def tokenizer_json() -> bytes:
    return build_tokenizer()


@pytest.fixture(scope="session")
def tokenizer(tokenizer_json: bytes) -> SegmentTokenizer:
    return SegmentTokenizer(tokenizer_json)
