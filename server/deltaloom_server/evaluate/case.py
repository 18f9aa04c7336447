"""A case: a small program with one weakness, and tests that tell a right fix from a wrong one.

Invariant: a `Case` has all its files, and names no file outside its folder. The form is described in
`fixtures/security/README.md`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final, Literal

import msgspec

from deltaloom_server.errors import DeltaloomError
from deltaloom_server.security.copying import LEFT_OUT, CopyLimits, copy_folder

FUNCTION_TEST: Final = "test_function.py"
EXPLOIT_TEST: Final = "test_exploit.py"
FIXED: Final = "fixed"
STUBS: Final = "stubs"

_DESCRIPTION: Final = "case.toml"
_NOT_SHOWN: Final = frozenset({_DESCRIPTION, FUNCTION_TEST, EXPLOIT_TEST, FIXED})
_LIMITS: Final = CopyLimits(bytes=16 << 20, files=500)


class BrokenCase(DeltaloomError):
    """A case that can't be evaluated; the text names it and says why, in one sentence."""


class CasesError(DeltaloomError):
    """There is nothing to evaluate."""


class _Described(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    cwe: int
    rule: str
    file: str
    line: str = ""
    language: Literal["python"] = "python"
    stubs: tuple[str, ...] = ()
    held_out: bool = False


class Case(msgspec.Struct, frozen=True):
    """`name` is the folder below the corpus ("CWE-089/ticket_search"). `rule` is the finding's name for all
    scanners, in `file`; `line` is a piece of the line that it stands on, "" for the first such finding."""

    name: str
    folder: Path
    title: str
    cwe: int
    rule: str
    file: str
    line: str = ""
    stubs: tuple[str, ...] = ()
    """Modules of the corpus's own `stubs` folder that the program imports."""
    held_out: bool = False
    """Written after the codemods were frozen, by somebody who hadn't seen them."""

    @property
    def weakness(self) -> str:
        """As tables show it."""
        return f"CWE-{self.cwe:03d}"

    def text(self) -> str:
        """The text that holds the weakness."""
        return (self.folder / self.file).read_bytes().decode("utf-8")

    def fixed_files(self) -> dict[str, str]:
        """The author's own fix, by path; empty where the corpus has none."""
        fixed = self.folder / FIXED
        return {
            path.relative_to(fixed).as_posix(): path.read_bytes().decode("utf-8")
            for path in sorted(fixed.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }

    def shared_stubs(self) -> dict[str, str]:
        """What the program imports of the corpus's own stubs, by path in the case."""
        shared = self.folder.parents[self.name.count("/")] / STUBS
        return {
            f"{STUBS}/{name}.py": (shared / f"{name}.py").read_text(encoding="utf-8") for name in self.stubs
        }

    def copy_workspace(self, target: Path) -> None:
        """What an editor would have open: the program, without its tests, its fix and its description."""
        try:
            copy_folder(self.folder, target, _LIMITS, LEFT_OUT | _NOT_SHOWN)
            for path, text in self.shared_stubs().items():
                (target / path).parent.mkdir(exist_ok=True)
                (target / path).write_text(text, encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BrokenCase(f"{self.name} can't be copied: {error}.") from error


def find_cases(corpus: Path, only: str = "") -> list[Path]:
    """The folders with a description, in the order of their names; `only` is a piece of the name.

    Raises CasesError where there are none.
    """
    if not corpus.is_dir():
        raise CasesError(f"{corpus} is not a folder; name one that holds cases (folders with a case.toml).")
    found = sorted(path.parent for path in corpus.rglob(_DESCRIPTION))
    if not found:
        raise CasesError(f"{corpus} holds no cases: none of its folders has a case.toml.")
    chosen = [path for path in found if only in path.relative_to(corpus).as_posix()]
    if not chosen:
        raise CasesError(f"None of the {len(found)} cases in {corpus} has {only!r} in its name.")
    return chosen


def load_case(corpus: Path, folder: Path) -> Case:
    """Read one case. Raises BrokenCase."""
    name = folder.relative_to(corpus).as_posix()
    try:
        described = msgspec.toml.decode((folder / _DESCRIPTION).read_bytes(), type=_Described)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BrokenCase(f"{name}: case.toml can't be read: {error}.") from error
    if not all(stub.isidentifier() for stub in described.stubs):
        raise BrokenCase(f"{name}: case.toml's stubs are names of modules in the corpus's own stubs folder.")
    path = PurePosixPath(described.file)
    if path.is_absolute() or ".." in path.parts or not (folder / path).is_file():
        raise BrokenCase(f"{name}: case.toml names {described.file}, which is not a file of the case.")
    for test in (FUNCTION_TEST, EXPLOIT_TEST):
        if not (folder / test).is_file():
            raise BrokenCase(f"{name} has no {test}.")
    case = Case(
        name, folder, described.title, described.cwe, described.rule, described.file, described.line,
        described.stubs, described.held_out,
    )  # fmt: skip
    try:
        case.shared_stubs()
        text = case.text()
    except OSError as error:
        raise BrokenCase(f"{name}: case.toml names a stub that the corpus doesn't have: {error}.") from error
    except UnicodeDecodeError as error:
        raise BrokenCase(f"{name}: {case.file} is not UTF-8.") from error
    if case.line not in text:
        raise BrokenCase(f"{name}: case.toml names a line that {case.file} doesn't have: {case.line}.")
    return case


def default_corpus() -> Path:
    """`fixtures/security` of the source checkout this code runs from. Raises CasesError elsewhere."""
    checkout = Path(__file__).resolve().parents[3]
    corpus = checkout / "fixtures" / "security"
    if not corpus.is_dir():
        raise CasesError(
            "The cases are in fixtures/security of Deltaloom's source checkout, which this installation is "
            "not part of; name their folder: deltaloom eval security FOLDER."
        )
    return corpus
