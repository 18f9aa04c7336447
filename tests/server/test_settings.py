"""Whatever is thrown at it, `resolve` gives complete settings, and says what it could not use."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.settings import PROJECT_KEYS, Settings, is_project_file, known_keys, resolve

DEFAULTS = Settings()


def _value(settings: Settings, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def _tree(key: str, value: object) -> dict[str, dict[str, object]]:
    section, _, name = key.partition(".")
    return {section: {name: value}}


def _project(folder: Path, text: str, name: str = "deltaloom.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("editor", [None, {}, {"completion": {}}])
def test_nothing_said_gives_the_defaults_and_no_problem(editor: object) -> None:
    resolved = resolve(editor)
    assert (resolved.settings, resolved.problems) == (DEFAULTS, ())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("context.max_tokens", 0),
        ("context.max_tokens", 300_000),
        ("context.max_file_bytes", 1),
        ("context.exclude", ["*.sql", "data/"]),
        ("context.exclude", []),
        ("completion.enabled", False),
        ("completion.max_new_tokens", 1),
        ("completion.menu", "always"),
        ("completion.risky", "allow"),
        ("security.severity", "critical"),
        ("security.test_command", ["python", "-m", "unittest"]),
        ("model.path", "models/coder"),
        ("model.device", "cpu"),
        ("model.dtype", "bfloat16"),
        ("worker.idle_seconds", 1),
        ("log.level", "debug"),
    ],
)
def test_the_editors_value_holds(key: str, value: object) -> None:
    resolved = resolve(_tree(key, value))
    assert resolved.problems == ()
    assert _value(resolved.settings, key) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("context.max_tokens", -1, "a whole number of at least 0, not the number -1"),
        ("context.max_tokens", True, "not true"),
        ("context.max_tokens", 8192.0, "not the number 8192.0"),
        ("context.max_tokens", "8192", 'not the text "8192"'),
        ("context.max_file_bytes", 0, "at least 1"),
        ("context.exclude", "*.sql", "a list of texts"),
        ("context.exclude", ["*.sql", 1], "a list that holds the number 1"),
        ("completion.enabled", 1, "true or false"),
        ("completion.enabled", "yes", "true or false"),
        ("completion.menu", "sometimes", '"auto", "always" or "never"'),
        ("completion.menu", ["auto"], "not a list"),
        ("model.path", "", "a text that isn't empty"),
        ("model.path", None, "not nothing"),
        ("model.device", "tpu", '"auto", "cpu" or "cuda"'),
        ("log.level", {"root": "debug"}, "not a table"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_and_leaves_the_default(
    key: str, value: object, part: str
) -> None:
    resolved = resolve(_tree(key, value))
    assert resolved.settings == DEFAULTS
    (problem,) = resolved.problems
    assert f'"{key}"' in problem
    assert part in problem
    assert "the editor's settings" in problem


@pytest.mark.parametrize(
    ("tree", "near"),
    [
        ({"completion": {"enable": True}}, "completion.enabled"),
        ({"completion": {"maxNewTokens": 4}}, "completion.max_new_tokens"),
        ({"context": {"device": "cpu"}}, ""),
        ({"completions": {}}, "completion"),
        ({"zzz": {}}, ""),
    ],
)
def test_an_unknown_setting_is_named_with_what_may_have_been_meant(tree: object, near: str) -> None:
    resolved = resolve(tree)
    assert resolved.settings == DEFAULTS
    (problem,) = resolved.problems
    assert "doesn't exist" in problem
    assert f'did you mean "{near}"' in problem or not near


@pytest.mark.parametrize("tree", ["on", 7, [], True, {"model": "nano"}, {"context": [1]}])
def test_what_is_no_table_is_said_to_be_none(tree: object) -> None:
    resolved = resolve(tree)
    assert resolved.settings == DEFAULTS
    (problem,) = resolved.problems
    assert "must be a table" in problem


def test_one_bad_value_does_not_cost_the_good_ones() -> None:
    resolved = resolve({"completion": {"multiline": False, "menu": 3}, "log": {"level": "debug"}})
    assert not resolved.settings.completion.multiline
    assert resolved.settings.log.level == "debug"
    assert len(resolved.problems) == 1


# -- project files -------------------------------------------------------------------------------------------


def test_a_project_file_goes_before_the_editor(tmp_path: Path) -> None:
    _project(tmp_path, "[completion]\nmax_new_tokens = 8\n")
    resolved = resolve({"completion": {"max_new_tokens": 50, "multiline": False}}, [tmp_path])
    assert resolved.problems == ()
    assert resolved.settings.completion.max_new_tokens == 8
    assert not resolved.settings.completion.multiline


def test_pyproject_is_read_where_there_is_no_file_of_our_own(tmp_path: Path) -> None:
    _project(tmp_path, "[tool.deltaloom.completion]\nmax_new_tokens = 8\n", "pyproject.toml")
    assert resolve(None, [tmp_path]).settings.completion.max_new_tokens == 8
    _project(tmp_path, "[completion]\nmax_new_tokens = 9\n")
    assert resolve(None, [tmp_path]).settings.completion.max_new_tokens == 9


@pytest.mark.parametrize("text", ["", "[project]\nname = 'a'\n", "tool = 3\n", "[tool.ruff]\n"])
def test_a_pyproject_that_does_not_speak_of_us_says_nothing(tmp_path: Path, text: str) -> None:
    _project(tmp_path, text, "pyproject.toml")
    resolved = resolve(None, [tmp_path])
    assert (resolved.settings, resolved.problems) == (DEFAULTS, ())


@pytest.mark.parametrize("key", sorted(set(known_keys()) - PROJECT_KEYS))
def test_a_workspace_may_not_name_a_model_or_anything_but_its_own_keys(tmp_path: Path, key: str) -> None:
    default = _value(DEFAULTS, key)
    value: object = default + 1 if isinstance(default, int) else "cpu"
    value = [*default, "cpu"] if isinstance(default, tuple) else value
    section, _, name = key.partition(".")
    _project(tmp_path, f"[{section}]\n{name} = {value!r}\n")
    resolved = resolve(None, [tmp_path])
    assert resolved.settings == DEFAULTS
    (problem,) = resolved.problems
    assert f'"{key}" is ignored' in problem
    assert "set it in your editor" in problem


def test_nothing_that_names_a_model_or_a_process_is_a_workspaces_to_say() -> None:
    assert {key.partition(".")[0] for key in PROJECT_KEYS} == {"context", "completion", "security"}
    assert set(known_keys()) > PROJECT_KEYS


def test_a_workspace_decides_what_is_shown_of_its_findings_but_that_is_told(tmp_path: Path) -> None:
    _project(tmp_path, '[security]\nignore = ["S6"]\nseverity = "high"\nenabled = false\n')
    resolved = resolve({"security": {"severity": "low"}}, [tmp_path])
    assert (resolved.settings.security.ignore, resolved.settings.security.severity) == (("S6",), "high")
    assert resolved.settings.security.enabled
    assert resolved.hides == (
        "deltaloom.toml sets security.severity to high.",
        "deltaloom.toml sets security.ignore to S6.",
    )
    assert len(resolved.problems) == 1


def test_exclusions_add_up_and_none_of_the_users_is_lost(tmp_path: Path) -> None:
    first = _project(tmp_path / "a", "[context]\nexclude = ['b', 'a']\n")
    second = _project(tmp_path / "b", "[context]\nexclude = []\n")
    resolved = resolve({"context": {"exclude": ["a", "mine"]}}, [first, second])
    assert resolved.settings.context.exclude == ("a", "mine", "b")


@pytest.mark.parametrize("content", [b"[completion", b"\xff\xfe", b"a" * (2 << 20), b"x = " + b"[" * 100_000])
def test_a_project_file_that_can_not_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "deltaloom.toml").write_bytes(content)
    resolved = resolve({"log": {"level": "debug"}}, [tmp_path])
    assert resolved.settings.log.level == "debug"
    (problem,) = resolved.problems
    assert problem.startswith("deltaloom.toml")


def test_no_file_a_folder_in_its_place_or_no_folder_at_all_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "deltaloom.toml").mkdir()
    resolved = resolve(None, [tmp_path, tmp_path / "gone"])
    assert (resolved.settings, resolved.problems) == (DEFAULTS, ())


@pytest.mark.parametrize(
    ("path", "expected"),
    [("deltaloom.toml", True), ("pyproject.toml", True), ("sub/pyproject.toml", False), ("a.toml", False)],
)
def test_project_files_are_told_by_name(path: str, expected: bool) -> None:
    assert is_project_file(path) is expected


# -- anything at all -----------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
_NAMES = [*sorted({name for key in known_keys() for name in key.split(".")}), "auto", "x"]
_TREES = st.dictionaries(
    st.sampled_from(_NAMES),
    _VALUES | st.dictionaries(st.sampled_from(_NAMES), _VALUES | st.sampled_from(["cpu", "auto", "debug"])),
)


def _is_valid(section: Any) -> bool:
    """Has every value of the tree its default's type, and is it one of its choices and not too small?"""
    for entry in fields(section):
        value = getattr(section, entry.name)
        if is_dataclass(value):
            valid = _is_valid(value)
        else:
            valid = (
                type(value) is type(entry.default)
                and value in entry.metadata.get("choices", [value])
                and (type(value) is not int or value >= entry.metadata["minimum"])
                and (type(value) is not tuple or all(isinstance(item, str) for item in value))
            )
        if not valid:
            return False
    return True


def _is_taken(settings: Settings, key: str, value: object) -> bool:
    wanted = tuple(value) if isinstance(value, list) else value
    return (
        key in known_keys()
        and type(wanted) is type(_value(settings, key))
        and wanted == _value(settings, key)
    )


@given(_TREES)
def test_any_tree_gives_valid_settings_and_one_sentence_for_each_value_not_taken(
    tree: dict[str, Any],
) -> None:
    resolved = resolve(tree)
    assert _is_valid(resolved.settings)
    sections = {field.name for field in fields(Settings)}
    not_taken = 0
    for section, values in tree.items():
        if section not in sections or not isinstance(values, dict):
            not_taken += 1
            continue
        for name, value in values.items():
            not_taken += not _is_taken(resolved.settings, f"{section}.{name}", value)
    assert len(resolved.problems) == not_taken


@given(_VALUES)
def test_anything_in_place_of_a_tree_gives_valid_settings(value: Any) -> None:
    assert _is_valid(resolve(value).settings)
