"""S506: `yaml.load` builds any Python object that a document names; `yaml.safe_load` builds plain data.

Invariant: nothing is proposed where the file teaches the unsafe loaders constructors of its own, since the
safe one would not know them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import argument, find_named, keyword, unpacks
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S506",)

_UNSAFE = frozenset(
    f"yaml.{prefix}{name}"
    for prefix in ("", "loader.", "cyaml.")
    for name in ("Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader", "CUnsafeLoader")
)
_TEACHING = ("yaml.add_constructor", "yaml.add_multi_constructor", "yaml.YAMLObject")


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_named(source, finding, ("yaml.load",))
    if call is None or unpacks(call) or _is_taught(source):
        return
    loader = argument(call, 1, "Loader")
    targets = _targets(source, loader)
    if loader is not None and not (targets and targets <= _UNSAFE):
        return
    rewrite = Rewrite(source)
    note = "Python-specific tags (!!python/…) are refused with a yaml.YAMLError."
    if loader is not None and len(targets) == 1 and min(targets).rpartition(".")[2].startswith("C"):
        rewrite.replace(loader, rewrite.use("yaml", "CSafeLoader"))
        yield rewrite.proposal("Use yaml.CSafeLoader", note=note)
        return
    if loader is not None:
        rewrite.remove_argument(call, keyword(call, "Loader") or loader)
    rewrite.replace(call.func, rewrite.use("yaml", "safe_load"))
    yield rewrite.proposal("Use yaml.safe_load", note=note)


def _targets(source: Source, loader: ast.expr | None) -> frozenset[str]:
    """What the loader may be: one thing, or several where an import has a fallback."""
    if isinstance(loader, ast.Name):
        return source.targets(loader)
    return frozenset({source.qualified(loader)} if loader is not None else ())


def _is_taught(source: Source) -> bool:
    return any(
        source.qualified(node) in _TEACHING
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )


CASES = (
    Case("import yaml\n\nconfig = yaml.load(text)\n", "import yaml\n\nconfig = yaml.safe_load(text)\n"),
    Case(
        "import yaml\n\n\ndef read(path):\n    with open(path) as f:\n"
        "        return yaml.load(f, Loader=yaml.FullLoader)\n",
        "import yaml\n\n\ndef read(path):\n    with open(path) as f:\n        return yaml.safe_load(f)\n",
    ),
    Case(
        "import yaml as y\n\nfirst = y.load(Loader=y.UnsafeLoader, stream=text)['a']\n",
        "import yaml as y\n\nfirst = y.safe_load(stream=text)['a']\n",
    ),
    Case(
        "import yaml\n\nx = yaml.load(\n    text,  # from the user\n    yaml.Loader,\n)\n",
        "import yaml\n\nx = yaml.safe_load(\n    text,  # from the user\n)\n",
    ),
    Case(
        "import yaml\nfrom yaml import CLoader\n\nx = yaml.load(text, Loader=CLoader)\n",
        "import yaml\nfrom yaml import CLoader\n\nx = yaml.load(text, Loader=yaml.CSafeLoader)\n",
    ),
    Case(
        "import yaml\n\ntry:\n    from yaml import CLoader as Loader\nexcept ImportError:\n"
        "    from yaml import Loader\n\nx = yaml.load(text, Loader=Loader)\n",
        "import yaml\n\ntry:\n    from yaml import CLoader as Loader\nexcept ImportError:\n"
        "    from yaml import Loader\n\nx = yaml.safe_load(text)\n",
    ),
    Case(
        "from yaml import Loader, load\n\nx = load(text, Loader=Loader)\n",
        "from yaml import Loader, load, safe_load\n\nx = safe_load(text)\n",
    ),
    Case("import yaml\n\nx = yaml.load(text, Loader=Mine)\n", None),
    Case("import yaml\n\nyaml.add_constructor('!env', env)\nx = yaml.load(text, Loader=yaml.Loader)\n", None),
    Case("import yaml\n\nx = yaml.load(text, **options)\n", None),
)
