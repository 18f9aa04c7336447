"""What a llama-server is told to keep."""

from __future__ import annotations

import sys
from pathlib import Path

from deltaloom_server.bench.edits.llama_options import cache_options


def _program(folder: Path, body: str) -> Path:
    program = folder / "llama-server"
    program.write_text(f"#!{sys.executable}\n{body}\n")
    program.chmod(0o755)
    return program


def test_only_options_that_the_programs_help_names_are_given(tmp_path: Path) -> None:
    program = _program(tmp_path, "print('-c, --ctx-size N\\n--cache-ram, -cram N   mebibytes')")

    assert cache_options(program) == ("--cache-ram", "8192")


def test_of_two_names_of_one_option_the_one_that_is_known_is_given(tmp_path: Path) -> None:
    program = _program(
        tmp_path, "import sys; sys.exit('--checkpoint-every-n-tokens N\\n--ctx-checkpoints N')"
    )

    assert cache_options(program) == ("--ctx-checkpoints", "128", "--checkpoint-every-n-tokens", "256")


def test_a_program_that_cannot_be_asked_is_given_none(tmp_path: Path) -> None:
    assert cache_options(tmp_path / "missing") == ()
