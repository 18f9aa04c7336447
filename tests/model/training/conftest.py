"""Small made-up packages, built as wheels, and a tokenizer trained on text at hand."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from deltaloom_model.training.bpe import train_tokenizer

WriteWheel = Callable[..., Path]


def made_up_module(seed: int, functions: int = 12) -> str:
    """Python text that shares no line-long run with another seed's."""
    draw = random.Random(seed)

    def word() -> str:
        return "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=7))

    blocks = []
    for _ in range(functions):
        a, b, c = word(), word(), word()
        blocks.append(
            f"def {word()}({a}, {b}=None):\n"
            f'    """{word()} {word()} {word()}."""\n'
            f"    {c} = {word()}.{word()}({a}, {draw.randint(1, 999)})\n"
            f"    if {c} > {b}:\n"
            f"        for {word()} in {word()}({c}):\n"
            f"            {a}.{word()}({b})\n"
            f"\n"
            f"        return {c} + {a}\n"
            f"    return {word()}[{b}]\n"
        )
    return "\n\n".join(blocks)


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    folder = tmp_path / "archives"
    folder.mkdir()
    return folder


@pytest.fixture
def write_wheel(archives: Path) -> WriteWheel:
    """Write a wheel of a made-up package: name, files by path, and its metadata's licence lines."""

    def write(
        name: str, files: dict[str, str | bytes], licence: str = "License-Expression: MIT", readme: str = ""
    ) -> Path:
        path = archives / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
        metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{licence}\n"
        if readme:
            metadata += f"Description-Content-Type: text/markdown\n\n{readme}"
        with zipfile.ZipFile(path, "w") as wheel:
            for file, content in files.items():
                wheel.writestr(file, content)
            wheel.writestr(f"{name.replace('-', '_')}-1.0.dist-info/METADATA", metadata)
        return path

    return write


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    trained = train_tokenizer([made_up_module(seed) for seed in range(40)], 1_000)
    trained.encode_special_tokens = True
    return trained


@pytest.fixture(scope="session")
def module_text() -> Callable[..., str]:
    return made_up_module
