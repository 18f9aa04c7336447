"""The templates for CI: they are YAML, and what they run is what the command understands."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deltaloom_server.cli import lint
from deltaloom_server.lint.options import LintOptions

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = {
    "$DELTALOOM_PATHS": ".",
    "$DELTALOOM_SEVERITY": "medium",
    "$CI_NODE_INDEX": "2",
    "$CI_NODE_TOTAL": "4",
    '${DELTALOOM_BASELINE:+"--baseline=$DELTALOOM_BASELINE"}': "--baseline=b.json",
}


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def understood(command: str, here: Path) -> LintOptions:
    """The options of a shell command; its paths are made to exist."""
    for variable, value in VARIABLES.items():
        command = command.replace(variable, value)
    words = shlex.split(command, comments=True)
    assert words[:2] == ["deltaloom", "lint"]
    words = words[2:]
    for stop in ("|", "||", ">"):
        words = words[: words.index(stop)] if stop in words else words
    parser = argparse.ArgumentParser(exit_on_error=False)
    lint.add_arguments(parser)
    arguments = parser.parse_args(words)
    for path in arguments.paths:
        (here / path).mkdir(parents=True, exist_ok=True)
    return LintOptions.from_arguments(arguments, str(here))


def test_the_gitlab_template_shards_and_merges(tmp_path: Path) -> None:
    template = load("docs/ci/gitlab.yml")
    (shard,) = template["deltaloom-shard"]["script"]
    options = understood(shard, tmp_path)
    assert options.shard == (2, 4)
    assert options.format == "json"
    assert options.exit_zero
    merges = [understood(command, tmp_path) for command in template["deltaloom"]["script"]]
    assert [one.format for one in merges] == ["junit", "gitlab"]
    reports = template["deltaloom"]["artifacts"]["reports"]
    assert [Path(one.output).name for one in merges] == [reports["junit"], reports["sast"]]
    assert all(one.merge and one.baseline for one in merges)
    assert not merges[-1].exit_zero


def test_the_hooks_for_pre_commit_are_complete(tmp_path: Path) -> None:
    hooks = load(".pre-commit-hooks.yaml")
    assert [hook["id"] for hook in hooks] == ["deltaloom-lint", "deltaloom-lint-fix"]
    for hook in hooks:
        assert {"id", "name", "entry", "language"} <= set(hook)
        assert understood(hook["entry"] + " a.py", tmp_path).fix is hook["id"].endswith("-fix")


def commands_of_the_page() -> list[str]:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("deltaloom lint")]


@pytest.mark.parametrize("command", commands_of_the_page())
def test_every_command_of_the_page_is_understood(command: str, tmp_path: Path) -> None:
    understood(command, tmp_path)


def test_the_page_has_commands() -> None:
    assert len(commands_of_the_page()) > 15


def test_the_yaml_of_the_page_is_yaml() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    workflow, hooks = (yaml.safe_load(block) for block in blocks)
    used = workflow["jobs"]["lint"]["steps"][-1]["with"]
    assert set(used) <= set(load("action.yml")["inputs"])
    assert hooks["repos"][0]["hooks"][0]["id"] == "deltaloom-lint"


# -- the GitHub action: its steps are really run -----------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository with one finding and an environment that has deltaloom where the action installs it."""
    workspace = tmp_path / "repository"
    workspace.mkdir()
    (workspace / "a b.py").write_text("import yaml\n\n\ndef load(text):\n    return yaml.load(text)\n")
    (workspace / "clean.py").write_text("x = 1\n")
    program = tmp_path / "temp" / "deltaloom" / "bin" / "deltaloom"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m deltaloom_server "$@"\n')
    program.chmod(0o755)
    return workspace


def step(name: str) -> dict[str, Any]:
    steps = load("action.yml")["runs"]["steps"]
    return dict(next(one for one in steps if one.get("name") == name or one.get("id") == name))


def run_step(name: str, workspace: Path, outputs: dict[str, str], **inputs: str) -> tuple[int, str]:
    """As the runner does it: inputs through `env`, `run` in bash. Fills `outputs`."""
    values = {key: str(one["default"]) for key, one in load("action.yml")["inputs"].items()}
    values |= {key.replace("_", "-"): value for key, value in inputs.items()}
    environment = os.environ | {
        "RUNNER_TEMP": str(workspace.parent / "temp"),
        "GITHUB_OUTPUT": str(workspace.parent / "output"),
        "XDG_CACHE_HOME": str(workspace.parent / "cache"),
        "XDG_RUNTIME_DIR": str(workspace.parent),
    }
    for key, value in step(name)["env"].items():
        (where, what) = re.fullmatch(r"\$\{\{ (inputs|steps\.lint\.outputs)\.([\w-]+) \}\}", value).groups()  # type: ignore[union-attr]
        environment[key] = values[what] if where == "inputs" else outputs[what]
    script = step(name)["run"]
    assert "${{" not in script, "an input in a script could be a command"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script], cwd=workspace, env=environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    output = workspace.parent / "output"
    if output.exists():
        outputs |= dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done.returncode, done.stdout


def test_the_action_annotates_writes_sarif_and_fails(workspace: Path) -> None:
    outputs: dict[str, str] = {}
    code, annotations = run_step("Lint", workspace, outputs)
    assert code == 0
    assert outputs["status"] == "1"
    assert re.search(r"^::error file=a b\.py,line=5,", annotations, re.MULTILINE)
    log = json.loads(Path(outputs["sarif"]).read_text(encoding="utf-8"))
    (result,) = log["runs"][0]["results"]
    assert result["ruleId"] == "S506"
    assert result["fixes"]
    assert run_step("Result", workspace, outputs)[0] == 1
    assert run_step("Result", workspace, outputs, fail_on_findings="false")[0] == 0


def test_the_action_takes_paths_a_line_and_no_commands(workspace: Path) -> None:
    outputs: dict[str, str] = {}
    sprung = workspace.parent / "sprung"
    run_step("Lint", workspace, outputs, paths="clean.py\n", arguments="--no-cache\n--jobs=1\n")
    assert outputs["status"] == "0"
    run_step(
        "Lint", workspace, outputs, paths=f"$(touch {sprung})\n; touch {sprung}", severity=f"`touch {sprung}`"
    )
    assert outputs["status"] == "2"
    assert not sprung.exists()
    assert run_step("Result", workspace, outputs, fail_on_findings="false")[0] == 2
