"""The optional semgrep: where its program is, what it is told, and the private folder that it works on.

Invariant: the program is the one installed with this Python, in a version whose reports we know; it sees
copies of texts, our own rules and a list of targets, and nothing of the workspace: no `.semgrep` folder, no
`.semgrepignore`, no file names.

semgrep (LGPL-2.1) is run as a program of its own; none of its Python is imported. The forms of the list of
targets and of the report are those of `semgrep_interfaces/semgrep_output_v1.atd` in the package.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import distributions
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

import msgspec

from deltaloom_server import private_folders
from deltaloom_server.security.analysis.limits import MEBIBYTE
from deltaloom_server.security.languages import language_id
from deltaloom_server.security.scanners import semgrep_rules

KNOWN_VERSION: Final = "1.172"

RULE_SECONDS = 4
"""For one rule on one file, parsing included; a file is given up at the first rule that takes longer."""
MOST_MATCHES = 1000
"""Of one rule in one file; semgrep then tells of none of them, and that it does."""

_ENV = "/usr/bin/env"
_TARGETS = "targets.json"
_BASE_BYTES = 1024 * MEBIBYTE
_JOB_BYTES = 1024 * MEBIBYTE
_JOB_HEAP_MEBIBYTES = 700
"""semgrep-core reserves 600 MiB of addresses before it does anything, and 250 MiB for each further job."""

_ANALYZERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "c": ("c", ".c"),
        "cpp": ("cpp", ".cpp"),
        "go": ("go", ".go"),
        "java": ("java", ".java"),
        "javascript": ("js", ".js"),
        "javascriptreact": ("js", ".jsx"),
        "php": ("php", ".php"),
        "typescript": ("ts", ".ts"),
        "typescriptreact": ("ts", ".tsx"),
    }
)
"""By LSP's identifier: semgrep's word for the language, and the ending by which it chooses the dialect."""


class SemgrepUnusable(Exception):
    """There is no semgrep beside this Python, or none that we know how to run; one sentence."""


@cache
def find_core() -> str:
    """The path of semgrep-core. Raises `SemgrepUnusable`.

    Looked for where this Python's packages are installed, neither on PATH nor on `sys.path`: a workspace may
    come first on both.
    """
    for folder in _package_folders():
        program = os.path.join(folder, "semgrep", "bin", "semgrep-core")
        if not os.access(program, os.X_OK):
            continue
        found = next((one.version for one in distributions(name="semgrep", path=[folder])), "of no version")
        if found.split(".")[:2] != KNOWN_VERSION.split("."):
            raise SemgrepUnusable(
                f"semgrep {found} is installed and only {KNOWN_VERSION} is known to work; "
                f'install "semgrep=={KNOWN_VERSION}.*".'
            )
        return program
    raise SemgrepUnusable("semgrep isn't installed beside this Python; install deltaloom[semgrep].")


def analyzer_of(path: str) -> tuple[str, str] | None:
    """semgrep's language and the ending of the copy; None where we have no rules for files of this name."""
    if PurePosixPath(path).suffix.lower() == ".h":
        return "cpp", ".hpp"  # of either language; the grammar of C++ reads most of both
    return _ANALYZERS.get(language_id(path))


def command(program: str, folder: str, jobs: int) -> tuple[str, ...]:
    """The command line for a folder that `write` has filled."""
    # At its start semgrep-core sets up TLS, for telemetry that is never turned on: it looks for programs by
    # PATH and reads the system's authorities. Given one that signs nothing, it needs neither, and could reach
    # nobody if it tried.
    return (
        _ENV, f"SSL_CERT_FILE={semgrep_rules.NO_AUTHORITY}",
        program, "-rules", str(semgrep_rules.COMPILED), "-json_nodots", "-j", str(jobs),
        "-timeout", str(RULE_SECONDS), "-timeout_threshold", "1",
        "-max_memory", str(_JOB_HEAP_MEBIBYTES * jobs), "-max_match_per_file", str(MOST_MATCHES),
        "-targets", os.path.join(folder, _TARGETS),
    )  # fmt: skip


def memory(jobs: int) -> int:
    """Bytes of address space for so many jobs."""
    return _BASE_BYTES + jobs * _JOB_BYTES


def private_folder() -> AbstractContextManager[str]:
    """A new folder that only this user can look into; it is gone afterwards, with all that is in it."""
    return private_folders.folder("semgrep")


def write(folder: str, texts: Sequence[tuple[str, bytes]]) -> tuple[str, ...]:
    """Put (path, UTF-8) as files into the folder, and the list of them; their names there. Blocking.

    Every path must have an analyzer.
    """
    names, targets = [], []
    for number, (path, data) in enumerate(texts):
        analyzer = analyzer_of(path)
        assert analyzer is not None
        language, ending = analyzer
        name = os.path.join(folder, f"{number}{ending}")
        # Go's grammar reads a last line without an end as something else than it is.
        _create(name, data if data.endswith(b"\n") else data + b"\n")
        names.append(name)
        place = {"fpath": name, "ppath": name}
        targets.append(["CodeTarget", {"path": place, "analyzer": language, "products": ["sast"]}])
    _create(os.path.join(folder, _TARGETS), msgspec.json.encode(["Targets", targets]))
    return tuple(names)


def _create(name: str, data: bytes) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)


def _package_folders() -> tuple[str, ...]:
    user = sysconfig.get_preferred_scheme("user")
    places = (
        sysconfig.get_path("platlib"), sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib", user), sysconfig.get_path("purelib", user),
    )  # fmt: skip
    return tuple(dict.fromkeys(place for place in places if os.path.isabs(place)))
