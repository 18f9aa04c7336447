"""B614: `torch.load` unpickles, and so runs, what a file says; with `weights_only=True` it builds tensors.

Invariant: nothing is proposed where the call picks an unpickler of its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_named, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("B614",)


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("torch.load", "torch.serialization.load"))
    if call is None or unpacks(call) or argument(call, 2, "pickle_module") is not None:
        return
    rewrite = Rewrite(source)
    rewrite.set_keyword(call, "weights_only", "True")
    yield rewrite.proposal(
        "Load weights only",
        unsafe=not _is_state(source, call),
        note="Tensors, plain containers and numbers load; a file with other objects raises UnpicklingError.",
    )


def _is_state(source: Source, call: ast.Call) -> bool:
    """Does it go straight into `load_state_dict`, which takes tensors only?"""
    parent = source.parents.get(call)
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Attribute)
        and parent.func.attr == "load_state_dict"
    )


CASES = (
    Case(
        "import torch\n\nmodel.load_state_dict(torch.load(path, map_location='cpu'))\n",
        "import torch\n\nmodel.load_state_dict(torch.load(path, map_location='cpu', weights_only=True))\n",
    ),
    Case(
        "import torch\n\ncheckpoint = torch.load(\n    path,\n    weights_only=False,\n)\n",
        "import torch\n\ncheckpoint = torch.load(\n    path,\n    weights_only=True,\n)\n",
        unsafe=True,
    ),
    Case("import torch\n\nmodel = torch.load(path, pickle_module=dill)\n", None),
    Case("import torch\n\nmodel = torch.load(path, **options)\n", None),
)
