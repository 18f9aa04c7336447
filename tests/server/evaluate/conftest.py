"""A corpus of small cases, and a source of fixes that says what it was told to say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from deltaloom_server.evaluate.case import Case
from deltaloom_server.evaluate.fix_source import Answer, Column, Offer

WEAK = "def read(text):\n    return eval(text)\n"
FUNCTION = "from reader import read\n\n\ndef test_numbers():\n    assert read('[1, 2]') == [1, 2]\n"
EXPLOIT = """
from reader import read


def test_text_runs_no_code(tmp_path):
    try:
        read(f"__import__('os').mkdir({str(tmp_path / 'ran')!r})")
    except Exception:
        pass
    assert not (tmp_path / "ran").exists()
"""

MakeCase = Callable[..., Path]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    return folder


@pytest.fixture
def make_case(corpus: Path) -> MakeCase:
    """Writes one case; each of its files can be given, None leaves it out."""

    def make(name: str = "CWE-095/reader", cwe: int = 95, **files: str | None) -> Path:
        folder = corpus / name
        folder.mkdir(parents=True)
        texts: dict[str, str | None] = {
            "case.toml": f'title = "Text evaluated"\ncwe = {cwe}\nrule = "S307"\nfile = "reader.py"\n',
            "reader.py": WEAK,
            "test_function.py": FUNCTION,
            "test_exploit.py": EXPLOIT,
        }
        for key, text in files.items():
            path = key.replace("__", "/")
            texts[path.replace("_toml", ".toml") if path.endswith("_toml") else f"{path}.py"] = text
        for path, content in texts.items():
            if content is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(content)
        return folder

    return make


class Scripted:
    """Answers with a new text for `reader.py`, by column; None: no offer. Notes what it was shown."""

    def __init__(self, texts: Mapping[Column, str | None]) -> None:
        self._texts = texts
        self.shown: list[set[str]] = []

    async def ask(self, workspace: Path, case: Case, column: Column) -> Answer:
        self.shown.append(
            {path.relative_to(workspace).as_posix() for path in workspace.rglob("*") if path.is_file()}
        )
        text = self._texts.get(column)
        if text is None:
            return Answer(True, note="There is no codemod for it.")
        return Answer(True, Offer("Read literals only", {case.file: text}, "parsed"))


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted
