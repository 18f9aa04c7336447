"""One frozen tree of settings: defaults, then the editor's, then the workspace's project file.

Invariant: whatever is thrown at it, `resolve` gives a complete, valid `Settings`; each value that can't be
used is named in one sentence and leaves what stood there before. Nothing in a workspace may name a model,
an executable or an endpoint: the project file sets only what `PROJECT_KEYS` lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

PROJECT_FILE = "deltaloom.toml"
PYPROJECT_FILE = "pyproject.toml"
_MAX_PROJECT_FILE_BYTES = 1 << 20

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16"]
Level = Literal["debug", "info", "warning", "error"]
Menu = Literal["auto", "always", "never"]
Severity = Literal["low", "medium", "high", "critical"]
Confidence = Literal["low", "medium", "high"]
Risky = Literal["withhold", "allow"]


def _number(default: int, *, minimum: int = 0) -> int:
    return field(default=default, metadata={"minimum": minimum})


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What of the repository is read. `max_tokens` 0 means the model's trained length."""

    max_tokens: int = _number(0)
    max_file_bytes: int = _number(262_144, minimum=1)
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """Whether and how much is suggested.

    `menu`: whether suggestions also stand in the editor's completion list; "auto" means only where the editor
    can't show ghost text. `reuse`: typing that agrees with a suggestion, or goes back to one, is answered
    from it without asking the model. `risky`: what becomes of a suggestion that would add a security finding.
    """

    enabled: bool = True
    max_new_tokens: int = _number(96, minimum=1)
    multiline: bool = True
    reuse: bool = True
    menu: Menu = field(default="auto", metadata={"choices": get_args(Menu)})
    risky: Risky = field(default="withhold", metadata={"choices": get_args(Risky)})


@dataclass(frozen=True, slots=True)
class SecuritySettings:
    """What is looked for, what is shown of it, and how fixes are made.

    `select` and `ignore` are beginnings of rule names, or CWEs ("S6", "CWE-78"); an empty `select` is all.
    `exclude` are patterns as in a `.gitignore`. `base` is the git revision against which lines count as
    changed, for credentials. `model_fixes`: the model is asked where no codemod has a fix, for up to
    `candidates` answers. `run_tests`: a fix is offered only when `test_command` passes on a copy of the
    workspace, without network; only where `workspace.trusted` is on too.
    """

    enabled: bool = True
    severity: Severity = field(default="medium", metadata={"choices": get_args(Severity)})
    confidence: Confidence = field(default="low", metadata={"choices": get_args(Confidence)})
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_file_bytes: int = _number(1 << 20, minimum=1)
    base: str = "HEAD"
    model_fixes: bool = True
    candidates: int = _number(4, minimum=1)
    run_tests: bool = False
    test_command: tuple[str, ...] = ()
    test_seconds: int = _number(120, minimum=1)
    processes: int = _number(0)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model the worker loads: "nano" (the embedded default) or a local folder.

    `threads` 0 means all cores.
    """

    path: str = "nano"
    device: Device = field(default="auto", metadata={"choices": get_args(Device)})
    dtype: Dtype = field(default="auto", metadata={"choices": get_args(Dtype)})
    threads: int = _number(0)
    checkpoint_bytes: int = _number(1 << 30, minimum=1)
    kv_bytes: int = _number(4 << 30, minimum=1)


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How much state is kept beside the model, in bytes; 0 keeps none there.

    `host_bytes` in pinned memory, where the model runs on a GPU; `disk_bytes` in the user's cache folder, so
    that a restart reads next to nothing again.
    """

    host_bytes: int = _number(8 << 30)
    disk_bytes: int = _number(8 << 30)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The model worker's process: how long it stays without any editor, in seconds."""

    idle_seconds: int = _number(600, minimum=1)


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """`trusted`: the person trusts what stands in this workspace enough to have its tests run."""

    trusted: bool = False


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the log file keeps; never source code."""

    level: Level = field(default="info", metadata={"choices": get_args(Level)})


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole tree."""

    context: ContextSettings = ContextSettings()
    completion: CompletionSettings = CompletionSettings()
    security: SecuritySettings = SecuritySettings()
    workspace: WorkspaceSettings = WorkspaceSettings()
    model: ModelSettings = ModelSettings()
    cache: CacheSettings = CacheSettings()
    worker: WorkerSettings = WorkerSettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings in force, one sentence for each value that could not be used, and one for each by which the
    workspace itself hides findings."""

    settings: Settings
    problems: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()


PROJECT_KEYS = frozenset(
    {"context.exclude", "context.max_file_bytes"}
    | {f"completion.{entry.name}" for entry in fields(CompletionSettings) if entry.name != "risky"}
    | {f"security.{name}" for name in ("severity", "confidence", "select", "ignore", "exclude")}
)
"""What a workspace may decide about itself. What it hides of its findings is told (`Resolved.hides`)."""

_SECTIONS: Mapping[str, type] = MappingProxyType(
    {
        "context": ContextSettings,
        "completion": CompletionSettings,
        "security": SecuritySettings,
        "workspace": WorkspaceSettings,
        "model": ModelSettings,
        "cache": CacheSettings,
        "worker": WorkerSettings,
        "log": LogSettings,
    }
)


def resolve(editor: object = None, roots: Iterable[Path] = (), last: object = None) -> Resolved:
    """Defaults, then the editor's tree (`initializationOptions`), then each root's project file, then `last`
    (what a person has said on the command line).

    Never raises. Reads at most two small files a root. `context.exclude` adds up: a workspace can't show
    again what its user has excluded.
    """
    problems: list[str] = []
    hides: list[str] = []
    settings = _apply(Settings(), editor, "the editor's settings", None, problems)
    for root in roots:
        tree, name, problem = _read_project(root)
        if problem:
            problems.append(problem)
        excluded, security = settings.context.exclude, settings.security
        settings = _apply(settings, tree, name, PROJECT_KEYS, problems)
        hides += _hidden_by(name, security, settings.security)
        if excluded and settings.context.exclude is not excluded:
            merged = tuple(dict.fromkeys((*excluded, *settings.context.exclude)))
            settings = replace(settings, context=replace(settings.context, exclude=merged))
    settings = _apply(settings, last, "the command line", None, problems)
    return Resolved(settings, tuple(problems), tuple(hides))


def _hidden_by(name: str, before: SecuritySettings, now: SecuritySettings) -> Iterator[str]:
    """What a project file changes about the findings that are shown."""
    for key in ("severity", "confidence", "select", "ignore", "exclude"):
        value = getattr(now, key)
        if value != getattr(before, key):
            shown = value if isinstance(value, str) else ", ".join(value)
            yield f"{name} sets security.{key} to {shown[:200] or 'nothing'}."


def is_project_file(path: str) -> bool:
    """Does this root-relative path name a file that `resolve_for_root` reads?"""
    return path in (PROJECT_FILE, PYPROJECT_FILE)


def known_keys() -> Iterator[str]:
    """Every setting's dotted name."""
    for section, cls in _SECTIONS.items():
        yield from (f"{section}.{entry.name}" for entry in fields(cls))


def _apply(
    settings: Settings, tree: object, origin: str, allowed: frozenset[str] | None, problems: list[str]
) -> Settings:
    if tree is None:
        return settings
    if not isinstance(tree, Mapping):
        problems.append(f"Settings in {origin} must be a table of sections, not {_kind(tree)}.")
        return settings
    for section, values in tree.items():
        if section not in _SECTIONS:
            problems.append(_unknown(str(section), origin, list(_SECTIONS)))
        elif not isinstance(values, Mapping):
            problems.append(f'Setting "{section}" in {origin} must be a table, not {_kind(values)}.')
        else:
            settings = _apply_section(settings, section, values, origin, allowed, problems)
    return settings


def _apply_section(
    settings: Settings,
    section: str,
    values: Mapping[Any, object],
    origin: str,
    allowed: frozenset[str] | None,
    problems: list[str],
) -> Settings:
    current = getattr(settings, section)
    entries = {entry.name: entry for entry in fields(current)}
    accepted: dict[str, object] = {}
    for name, value in values.items():
        key = f"{section}.{name}"
        if name not in entries:
            problems.append(_unknown(key, origin, [f"{section}.{known}" for known in entries]))
        elif allowed is not None and key not in allowed:
            problems.append(f'Setting "{key}" is ignored in {origin}; set it in your editor instead.')
        elif expected := _mismatch(entries[name], value):
            problems.append(f'Setting "{key}" in {origin} must be {expected}, not {_kind(value)}.')
        else:
            accepted[name] = tuple(value) if isinstance(value, list) else value
    section_now = replace(current, **accepted)
    return replace(settings, **{section: section_now})


def _mismatch(entry: Field[Any], value: object) -> str:
    """What was expected, when `value` isn't it; "" when it is. The default's type is the setting's type."""
    assert entry.default is not MISSING, "every setting has a default"
    default = entry.default
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        minimum = entry.metadata["minimum"]
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= minimum
        return "" if fits else f"a whole number of at least {minimum}"
    if choices := entry.metadata.get("choices"):
        quoted = [f'"{choice}"' for choice in choices]
        return "" if value in choices else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    if isinstance(default, tuple):
        is_list = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return "" if is_list else "a list of texts"
    return "" if isinstance(value, str) and value else "a text that isn't empty"


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{value[:40]}"'
    if isinstance(value, list | tuple):
        wrong = next((item for item in value if not isinstance(item, str)), None)
        return "a list" if wrong is None else f"a list that holds {_kind(wrong)}"
    return "a table" if isinstance(value, Mapping) else type(value).__name__


def _unknown(key: str, origin: str, candidates: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(_snake(key), candidates, n=1) or get_close_matches(key, known_keys(), n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    return f'Setting "{key[:80]}" in {origin} doesn\'t exist{hint}'


def _snake(key: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)


def _read_project(root: Path) -> tuple[object, str, str]:
    """(tree, the file's name, problem) of the first project file that says anything."""
    import tomllib

    for name in (PROJECT_FILE, PYPROJECT_FILE):
        try:
            with (root / name).open("rb") as stream:
                data = stream.read(_MAX_PROJECT_FILE_BYTES + 1)
        except OSError:
            continue
        if len(data) > _MAX_PROJECT_FILE_BYTES:
            return None, name, f"{name} is over 1 MiB and was not read for settings."
        try:
            tree: object = tomllib.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
            return None, name, f"{name} isn't valid TOML, so its settings are ignored."
        if name == PROJECT_FILE:
            return tree, name, ""
        tool = tree.get("tool") if isinstance(tree, dict) else None
        if isinstance(tool, dict) and "deltaloom" in tool:
            return tool["deltaloom"], f"[tool.deltaloom] of {name}", ""
    return None, PROJECT_FILE, ""
