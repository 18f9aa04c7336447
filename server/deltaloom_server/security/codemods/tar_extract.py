"""S202: members of a tar archive may name paths outside the folder; `filter="data"` refuses them.

Invariant: only archives of `tarfile` get the argument; `zipfile` has none, and needs none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call, keyword, kind, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S202",)

_OTHER_ARCHIVES = ("zipfile", "rarfile", "py7zr", "pyzipper", "libarchive", "patoolib")


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, _is_extractall)
    if call is None or unpacks(call) or not _is_tar(source, call):
        return
    rewrite = Rewrite(source)
    rewrite.set_keyword(call, "filter", '"data"')
    yield rewrite.proposal(
        'Extract with filter="data"',
        note="Members that would land outside the folder, and device files, raise tarfile.FilterError.",
    )


def _is_extractall(call: ast.Call) -> bool:
    given = keyword(call, "filter")
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "extractall"
        and (given is None or (isinstance(given.value, ast.Constant) and given.value.value != "data"))
    )


def _is_tar(source: Source, call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    made_by = kind(source, call.func.value)
    if made_by:
        return made_by.startswith("tarfile.") or made_by in ("TarFile", "tarfile.TarFile")
    roots = {full.partition(".")[0] for full in source.imports.values()}
    return "tarfile" in roots and not roots.intersection(_OTHER_ARCHIVES)


CASES = (
    Case(
        "import tarfile\n\nwith tarfile.open(path) as tar:\n    tar.extractall(target)\n",
        'import tarfile\n\nwith tarfile.open(path) as tar:\n    tar.extractall(target, filter="data")\n',
    ),
    Case(
        "import tarfile\n\ntarfile.open(path).extractall()\n",
        'import tarfile\n\ntarfile.open(path).extractall(filter="data")\n',
    ),
    Case(
        "import tarfile\nimport zipfile\n\n\ndef unpack(tar: tarfile.TarFile, to):\n"
        "    tar.extractall(path=to, members=tar.getmembers())\n",
        "import tarfile\nimport zipfile\n\n\ndef unpack(tar: tarfile.TarFile, to):\n"
        '    tar.extractall(path=to, members=tar.getmembers(), filter="data")\n',
    ),
    Case(
        "from tarfile import open as topen\nimport tarfile\n\n\nclass A:\n    def __init__(self, p):\n"
        "        self.tar = topen(p)\n\n    def go(self, to):\n"
        "        self.tar.extractall(to, filter='fully_trusted')\n",
        "from tarfile import open as topen\nimport tarfile\n\n\nclass A:\n    def __init__(self, p):\n"
        "        self.tar = topen(p)\n\n    def go(self, to):\n"
        '        self.tar.extractall(to, filter="data")\n',
    ),
    Case(
        "import tarfile\nimport zipfile\n\nwith zipfile.ZipFile(path) as z:\n    z.extractall(to)\n",
        None,
    ),
    Case(
        "import tarfile\n\n\ndef unpack(tar: tarfile.TarFile, to, chosen):\n"
        "    tar.extractall(to, filter=chosen)\n",
        None,
    ),
    Case("import tarfile\nimport zipfile\n\n\ndef unpack(archive, to):\n    archive.extractall(to)\n", None),
)
