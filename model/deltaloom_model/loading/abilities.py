"""What a model was taught, told by its tokenizer and by the chat template it comes with.

Invariant: a template is looked through for words, never run; where there is a manifest, only one that it
lists counts. A damaged template says nothing. Torch-free.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from deltaloom_model.api import Ability
from deltaloom_model.chat import TURN_START, ChatFormat
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.manifest import Manifest
from deltaloom_model.tokenizer import SegmentTokenizer

TEMPLATE_NAMES = ("chat_template.jinja", "tokenizer_config.json")
"""In the order in which transformers looks for it."""

_MAX_BYTES = 8 << 20


class _NamedTemplate(msgspec.Struct, frozen=True):
    template: str = ""
    name: str = ""


class _TokenizerConfig(msgspec.Struct, frozen=True):
    chat_template: str | list[_NamedTemplate] | None = None


def abilities_of(
    folder: Path, config: HybridConfig, tokenizer: SegmentTokenizer, manifest: Manifest | None
) -> tuple[Ability, ...]:
    """ "fim" always (no other model is loaded); the others need ChatML's tokens, and a template that uses
    them or the config's own word."""
    if ChatFormat.of(tokenizer) is None:
        return ("fim",)
    stated = config.abilities or _taught_by(chat_template(folder, manifest))
    found: list[Ability] = ["fim"]
    if "instruct" in stated:
        found.append("instruct")
        if "tools" in stated:
            found.append("tools")
    return tuple(found)


def template_files(folder: Path, manifest: Manifest | None) -> list[str]:
    """Names of the files that may hold the folder's chat template."""
    there = [name for name in TEMPLATE_NAMES if (folder / name).is_file()]
    return [name for name in there if manifest is None or name in manifest.files]


def chat_template(folder: Path, manifest: Manifest | None) -> str:
    """The folder's chat template, several one after the other; "" without one."""
    for name in template_files(folder, manifest):
        if template := _template_in(folder / name):
            return template
    return ""


def _template_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError:
        return ""
    if len(content) > _MAX_BYTES:
        return ""
    if path.suffix != ".json":
        return content.decode("utf-8", "replace")
    try:
        found = msgspec.json.decode(content, type=_TokenizerConfig).chat_template
    except msgspec.MsgspecError:
        return ""
    if isinstance(found, list):
        return "\n".join(named.template for named in found)
    return found or ""


def _taught_by(template: str) -> tuple[Ability, ...]:
    if TURN_START not in template:
        return ()
    # Qwen's older templates ask for JSON between the same markers.
    calls = "<tool_call>" in template and "<function=" in template
    return ("instruct", "tools") if calls else ("instruct",)
