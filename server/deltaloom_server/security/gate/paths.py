"""Which files are never edited, whatever a finding says of them.

Invariant: a path is refused in every spelling that some file system would take for a refused one: other
case, backslashes, trailing dots and blanks, compatibility characters, "..", NTFS streams and short names.
"""

from __future__ import annotations

import re
import unicodedata

from .words import words

_FOLDERS = words(
    ".git .hg .svn .bzr .jj .vscode .idea .vs .fleet .zed .devcontainer .github .gitlab .circleci"
    " .buildkite .azure-pipelines .azuredevops .gitea .forgejo .woodpecker .teamcity .husky .githooks"
    " .venv site-packages dist-packages node_modules __pycache__"
)
_FILES = words(
    ".git .gitattributes .gitmodules .gitconfig .gitlab-ci.yml .gitlab-ci.yaml .travis.yml"
    " .travis.yaml .drone.yml .drone.yaml .woodpecker.yml .woodpecker.yaml .cirrus.yml .cirrus.yaml"
    " .appveyor.yml appveyor.yml bitbucket-pipelines.yml azure-pipelines.yml azure-pipelines.yaml"
    " buildspec.yml cloudbuild.yaml cloudbuild.yml jenkinsfile .pre-commit-config.yaml"
    " .pre-commit-config.yml .pre-commit-hooks.yaml lefthook.yml .lefthook.yml sitecustomize.py"
    " usercustomize.py .bandit .editorconfig .envrc .npmrc .pypirc .netrc .secrets.baseline"
    " .semgrepignore .semgrep.yml ruff.toml .ruff.toml .bashrc .profile .zshrc"
)
_ENDINGS = (".pth", ".code-workspace", ".jenkinsfile")
_SHORT_NAME = re.compile(r"^[^.~]{1,6}~\d")
_IGNORED_BY_HFS = frozenset(
    map(chr, (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF, 0x00AD))
)


def refuse_path(path: str) -> str | None:
    """Why a file (relative to its workspace folder) must not be edited, in one sentence; None where it may.

    Only the name is judged: who opens the file must still see that no link leads out of the workspace.
    """
    if not path or "\0" in path or any(unicodedata.category(one) == "Cc" for one in path):
        return "The path is empty or holds control characters."
    plain = _plain(path)
    if plain.startswith(("/", "~")) or re.match(r"^[a-z]:", plain):
        return f"{path} is not a path inside the workspace."
    segments = [one for one in plain.split("/") if one not in ("", ".")]
    if (
        not segments
        or ".." in path.replace("\\", "/").split("/")
        or any(not one.strip(". ") for one in segments)
    ):
        return f"{path} leaves the workspace."
    for number, segment in enumerate(segments):
        name = segment.partition(":")[0].rstrip(". ")
        if name in _FOLDERS or (number == len(segments) - 1 and _is_refused_file(name)):
            return f"{path} is never edited: {name} steers tools, an editor or a build."
        if _SHORT_NAME.match(name):
            return f"{path} is never edited: {name} may be another file's short name."
    return None


def _is_refused_file(name: str) -> bool:
    return name in _FILES or name.endswith(_ENDINGS) or name.startswith(".env.") or name == ".env"


def _plain(path: str) -> str:
    """The path as the most lenient file system reads it."""
    folded = unicodedata.normalize("NFKC", path).replace("\\", "/").casefold()
    folded = "".join(one for one in folded if one not in _IGNORED_BY_HFS)
    return unicodedata.normalize("NFKC", folded)
