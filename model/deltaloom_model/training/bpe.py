"""Trains nano's byte-level BPE tokenizer.

Invariant: the vocabulary has exactly `VOCABULARY_SIZE` entries, and Qwen's special tokens are its last ones,
in Qwen's order; the split is Qwen2's, so a tokenizer of that family and this one cut text at the same places.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from deltaloom_model.training.corpus import read_side

VOCABULARY_SIZE = 16_384
SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
# Qwen2's own split, digit by digit (transformers, models/qwen2/tokenization_qwen2.py, Apache-2.0).
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = VOCABULARY_SIZE) -> Tokenizer:
    """Learn merges from `texts`; a corpus too small for the vocabulary is filled up with reserved tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - len(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=48,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    missing = vocabulary_size - len(SPECIAL_TOKENS) - tokenizer.get_vocab_size()
    # Reserved tokens come first, so that Qwen's stay the last ones whatever was learnt.
    tokenizer.add_special_tokens([f"<|reserved_{k}|>" for k in range(missing)])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def training_sample(corpus: Path, max_bytes: int) -> Iterator[str]:
    """Files of the training side in an order fixed by a hash of their place, up to `max_bytes`."""
    ranked = [
        (hashlib.sha256(f"{package}/{file.path}".encode()).digest(), file.text)
        for package, files in read_side(corpus, "train")
        for file in files
    ]
    taken = 0
    for _, text in sorted(ranked):
        taken += len(text.encode())
        if taken > max_bytes:
            return
        yield text


def bytes_per_token(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """UTF-8 bytes over tokens, specials written in a text counted as plain text."""
    tokenizer.encode_special_tokens = True
    size = tokens = 0
    for text in texts:
        size += len(text.encode())
        tokens += len(tokenizer.encode(text, add_special_tokens=False).ids)
    return size / max(1, tokens)


def main(arguments: list[str] | None = None) -> int:
    """`python -m deltaloom_model.training.bpe --corpus DIR --out FILE [--sample-mb N]`."""
    parser = argparse.ArgumentParser(description="Train nano's tokenizer.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sample-mb", type=float, default=40.0)
    options: Any = parser.parse_args(arguments)
    tokenizer = train_tokenizer(training_sample(options.corpus, int(options.sample_mb * 1e6)))
    tokenizer.save(str(options.out))
    held_out = [
        f.text for _, files in read_side(options.corpus, "heldout") for f in files if f.kind == "python"
    ]
    report = {
        "vocabulary": tokenizer.get_vocab_size(),
        "bytes_per_token": bytes_per_token(tokenizer, held_out),
    }
    print(msgspec.json.encode(report).decode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
