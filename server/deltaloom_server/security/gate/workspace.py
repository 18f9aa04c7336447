"""What a workspace's code can import: its own modules, what it declares, what its files import already.

Invariant: files are read, never run; only regular files below the roots, a bounded number of bounded size,
and no link is followed.
"""

from __future__ import annotations

import ast
import configparser
import os
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .words import words

_MOST_FILES = 3000
_MOST_BYTES = 500_000
_LEFT_OUT = words("node_modules site-packages dist-packages __pycache__ build dist venv env")
_IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]+([\w.]+(?:[ \t]*,[ \t]*[\w.]+)*)", re.MULTILINE)
_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")

_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "argon2": ("argon2-cffi",),
    "attr": ("attrs",),
    "bs4": ("beautifulsoup4",),
    "Crypto": ("pycryptodome", "pycrypto"),
    "Cryptodome": ("pycryptodomex",),
    "cv2": ("opencv-python", "opencv-python-headless"),
    "dateutil": ("python-dateutil",),
    "decouple": ("python-decouple",),
    "docx": ("python-docx",),
    "dotenv": ("python-dotenv",),
    "git": ("gitpython",),
    "jose": ("python-jose",),
    "jwt": ("pyjwt",),
    "ldap": ("python-ldap",),
    "magic": ("python-magic",),
    "markupsafe": ("markupsafe", "jinja2", "flask"),
    "jinja2": ("jinja2", "flask"),
    "werkzeug": ("werkzeug", "flask"),
    "itsdangerous": ("itsdangerous", "flask"),
    "MySQLdb": ("mysqlclient",),
    "nacl": ("pynacl",),
    "OpenSSL": ("pyopenssl",),
    "PIL": ("pillow",),
    "psycopg2": ("psycopg2", "psycopg2-binary"),
    "rest_framework": ("djangorestframework",),
    "ruamel": ("ruamel-yaml",),
    "serial": ("pyserial",),
    "sklearn": ("scikit-learn",),
    "skimage": ("scikit-image",),
    "urllib3": ("urllib3", "requests"),
    "certifi": ("certifi", "requests", "httpx"),
    "yaml": ("pyyaml",),
    "zmq": ("pyzmq",),
}
"""Import names whose distribution has another name, or comes with another one."""


@dataclass(frozen=True)
class Workspace:
    """`roots`: absolute folders. `imports`: what the file in question imports before the change."""

    roots: tuple[str, ...] = ()
    imports: frozenset[str] = frozenset()

    def has_module(self, module: str, member: str = "") -> bool:
        """Can `import module` (`from module import member`) work, as far as the workspace's files tell?"""
        root = module.partition(".")[0]
        places = [place for folder in self._folders for place in _candidates(folder / root)]
        if places:
            return any(_holds(folder, module, member) for folder in self._folders)
        if root in self.imports or self._declares(root):
            return True
        return root in self._imported

    def has_relative(self, path: str, module: str, member: str) -> bool:
        """Can a relative import in the file `path` (relative to a root) work?"""
        level = len(module) - len(module.lstrip("."))
        rest = module[level:]
        for root in map(Path, self.roots):
            folder = (root / path).parent
            for _ in range(level - 1):
                folder = folder.parent
            if root != folder and root not in folder.parents:
                continue
            if _holds(folder.parent, f"{folder.name}.{rest}".rstrip("."), member):
                return True
        return False

    @cached_property
    def _folders(self) -> tuple[Path, ...]:
        roots = [Path(one) for one in self.roots]
        return tuple(
            folder for root in roots for folder in (root, root / "src", root / "lib") if folder.is_dir()
        )

    def _declares(self, root: str) -> bool:
        return any(_normal(one) in self._declared for one in (root, *_DISTRIBUTIONS.get(root, ())))

    @cached_property
    def _declared(self) -> frozenset[str]:
        names = (name for root in self.roots for name in _declarations(Path(root)))
        return frozenset(map(_normal, names))

    @cached_property
    def _imported(self) -> frozenset[str]:
        """The root packages that the workspace's Python files import."""
        found: set[str] = set()
        for path in _python_files(self.roots):
            for match in _IMPORT.finditer(_read(path)):
                found.update(one.strip().partition(".")[0] for one in match.group(1).split(","))
        return frozenset(found)


def _normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(path: Path) -> str:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return ""
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def _python_files(roots: tuple[str, ...]) -> Iterator[Path]:
    count = 0
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(one for one in folders if one not in _LEFT_OUT and not one.startswith("."))
            for name in sorted(files):
                if name.endswith(".py"):
                    yield Path(folder, name)
                    count += 1
                    if count >= _MOST_FILES:
                        return


def _candidates(base: Path) -> Iterator[Path]:
    for suffix in (".py", ".pyi"):
        if (path := base.with_name(base.name + suffix)).is_file():
            yield path
    if base.is_dir() and (base / "__init__.py").is_file():
        yield base / "__init__.py"
    elif base.is_dir() and any(base.glob("*.py")):
        yield base


def _holds(folder: Path, module: str, member: str) -> bool:
    """Is there such a module below a folder, and such a name in it?"""
    base = folder.joinpath(*module.split("."))
    for place in _candidates(base):
        if not member or any(_candidates(base / member)):
            return True
        if place.suffix in (".py", ".pyi") and member in _top_names(_read(place)):
            return True
    return False


def _top_names(text: str) -> frozenset[str]:
    """What a module's top level binds; with a star import or `__getattr__` anything could be."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in node.names)
    return frozenset(names)


def _declarations(root: Path) -> Iterator[str]:
    for path in sorted([*root.glob("*requirements*.txt"), *root.glob("requirements/*.txt")])[:50]:
        yield from _requirements(_read(path).splitlines())
    for name, of in (("pyproject.toml", _of_pyproject), ("Pipfile", _of_pipfile)):
        try:
            yield from of(tomllib.loads(_read(root / name)))
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
    yield from _of_setup_cfg(_read(root / "setup.cfg"))
    yield from _of_setup_py(_read(root / "setup.py"))


def _requirements(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if match := _REQUIREMENT.match(line):
            yield match.group(1)


def _strings(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _table(value: object, *names: str) -> dict[str, object]:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _of_pyproject(data: dict[str, object]) -> Iterator[str]:
    yield from _requirements(_strings(_table(data, "project").get("dependencies")))
    groups = (_table(data, "project", "optional-dependencies"), _table(data, "dependency-groups"))
    for group in (one for table in groups for one in table.values()):
        yield from _requirements(_strings(group))
    yield from _table(data, "tool", "poetry", "dependencies")
    for group in _table(data, "tool", "poetry", "group").values():
        yield from _table(group, "dependencies")


def _of_pipfile(data: dict[str, object]) -> Iterator[str]:
    yield from _table(data, "packages")
    yield from _table(data, "dev-packages")


def _of_setup_cfg(text: str) -> Iterator[str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    if parser.has_option("options", "install_requires"):
        yield from _requirements(parser.get("options", "install_requires").splitlines())
    if parser.has_section("options.extras_require"):
        for _, value in parser.items("options.extras_require"):
            yield from _requirements(value.splitlines())


def _of_setup_py(text: str) -> Iterator[str]:
    """The strings in `install_requires` and `extras_require`, wherever they are written down."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("install_requires", "extras_require"):
            texts = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
            yield from _requirements([one for one in texts if isinstance(one, str)])
