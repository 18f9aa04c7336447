"""Rule 10: some files are never edited, however their names are spelled."""

from __future__ import annotations

import pytest

from deltaloom_server.security.gate import refuse_path

REFUSED = [
    ".git/config",
    ".git/hooks/pre-commit",
    "a/.git/config",
    ".GIT/config",
    ".Git",
    "sub/.gIt/hooks/x",
    ".git./config",
    ".git /config",
    ".git...  /config",
    ".git\\config",
    "a\\.git\\config",
    ".git::$INDEX_ALLOCATION/config",
    "git~1/config",
    "GIT~1/config",
    "．git/config",
    "．ｇｉｔ/config",
    ".g\u200cit/config",
    ".\u200dgit/config",
    ".gi\u00adt/config",
    ".gıt/../.git/config",
    ".hg/hgrc",
    ".svn/x",
    ".vscode/settings.json",
    ".VSCode/tasks.json",
    ".idea/x.xml",
    ".github/workflows/ci.yml",
    ".GitHub/workflows/ci.yml",
    "sub/.github/actions/a.py",
    ".gitlab-ci.yml",
    ".GITLAB-CI.YML",
    "x/.gitlab-ci.yml",
    ".circleci/config.yml",
    "Jenkinsfile",
    "jenkinsFILE",
    "azure-pipelines.yml",
    ".travis.yml",
    ".pre-commit-config.yaml",
    ".husky/pre-commit",
    ".devcontainer/devcontainer.json",
    "sitecustomize.py",
    "lib/usercustomize.py",
    "x.pth",
    "lib/y.PTH",
    "a.code-workspace",
    ".gitmodules",
    ".gitattributes",
    ".bandit",
    "../x.py",
    "a/../../x.py",
    "a/..\\..\\x.py",
    "..",
    ".",
    "",
    "/etc/passwd",
    "//server/share",
    "C:/x.py",
    "c:\\x.py",
    "\\\\?\\C:\\x",
    "~/x.py",
    "~root/.bashrc",
    "a/\0.py",
    "a\nb.py",
    "a/.. /x.py",
    "a/.../x.py",
    ".venv/lib/x.py",
    "node_modules/x/index.js",
    "venv/lib/site-packages/x.py",
    "bitbucket-pipelines.yml",
    "buildspec.yml",
    ".envrc",
]

ALLOWED = [
    "a.py",
    "src/app/views.py",
    "conftest.py",
    "tests/conftest.py",
    "Makefile",
    "setup.py",
    "github/x.py",
    "git/config.py",
    "my.git.py",
    "vscode.py",
    "a/b/c/d.js",
    "jenkinsfile.py",
    "path/to/gitlab-ci.py",
    "Über/größe.py",
    "a b/c d.py",
    "..a/b.py",
    "a..b.py",
    "...x.py",
    "日本/語.py",
    "x.pthx",
    "docker/app.py",
]


@pytest.mark.parametrize("path", REFUSED)
def test_a_file_that_steers_tools_or_lies_outside_is_refused(path: str) -> None:
    reason = refuse_path(path)
    assert reason is not None
    assert reason.endswith(".")


@pytest.mark.parametrize("path", ALLOWED)
def test_a_usual_file_may_be_edited(path: str) -> None:
    assert refuse_path(path) is None
