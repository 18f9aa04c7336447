"""The server knows text and positions, the model tokens and tensors: neither drags the other's world in."""

from __future__ import annotations

import subprocess
import sys

import pytest

TENSORS = {"torch", "safetensors", "tokenizers", "transformers", "numpy"}
EDITORS = {"pygls", "lsprotocol", "deltaloom_server"}


def _imported_by(module: str) -> set[str]:
    """The top-level modules that are loaded after importing `module` in a process of its own."""
    code = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "deltaloom_server",
        "deltaloom_server.__main__",
        "deltaloom_server.language_server",
        "deltaloom_model.api",
        "deltaloom_model.errors",
        "deltaloom_model.client",
    ],
)
def test_the_server_side_leaves_tensors_unimported(module: str) -> None:
    assert _imported_by(module) & TENSORS == set()


@pytest.mark.parametrize(
    "module", ["deltaloom_model.worker", "deltaloom_model.engine", "deltaloom_model.client"]
)
def test_the_model_side_knows_nothing_of_editors(module: str) -> None:
    assert _imported_by(module) & EDITORS == set()


def test_the_check_itself_would_notice_torch() -> None:
    assert "torch" in _imported_by("deltaloom_model.hybrid_model")
