"""What stands in a model's answer: fenced blocks of code, and the part that is meant for a reader; and how
code is put into a question.

Invariant: pure functions that never raise, in time linear in the answer's length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .tool_calls import begun_tag

_FENCE = re.compile(r"^( {0,12})(`{3,}|~{3,})[ \t]*([^`\n]*)$")
_TICKS = re.compile(r"`{3,}")
_THOUGHT_END = "</think>"
_SENTENCE = re.compile(r"""^[A-Z"'“][^(){}\[\]=;<>]*[.:!?]["'”*]*$""")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language as written ("" for none), and its text without a newline at the end.
    `closed` is False where the answer ends within it."""

    language: str
    text: str
    closed: bool = True


def fenced_blocks(answer: str) -> list[Block]:
    """All fenced blocks, in order (CommonMark, section 4.5): a block ends at a fence of the same character
    that is at least as long; a fence's indentation is taken off its lines."""
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in answer.replace("\r\n", "\n").split("\n"):
        fence = _FENCE.match(line)
        if opened is None:
            opened, lines = fence, []
        elif fence is not None and _closes(fence, opened):
            blocks.append(Block(_language(opened), "\n".join(lines)))
            opened = None
        else:
            lines.append(_outdented(line, len(opened[1])))
    if opened is not None:
        blocks.append(Block(_language(opened), "\n".join(lines).removesuffix("\n"), closed=False))
    return blocks


def fenced(code: str, language: str = "") -> str:
    """Code as a fenced block that nothing in the code can close."""
    fence = "`" * max((len(run) + 1 for run in _TICKS.findall(code)), default=3)
    end = "" if code.endswith("\n") else "\n"
    return f"{fence}{language}\n{code}{end}{fence}"


def code_block(answer: str) -> str | None:
    """The first fenced block that holds something; without any fence the whole answer, if it is code; None
    where there is no code. Without the newline at its end."""
    blocks = fenced_blocks(answer)
    if blocks:
        return next((block.text for block in blocks if block.text.strip()), None)
    lines = [line for line in answer.split("\n") if line.strip()]
    if not lines or _is_prose(lines[0]) or _is_prose(lines[-1]):
        return None
    return answer.replace("\r\n", "\n").strip("\n")


def spoken(answer: str) -> str:
    """The answer without what a thinking model has thought before it."""
    thought, end, rest = answer.rpartition(_THOUGHT_END)
    return rest.lstrip("\n") if end else thought + rest


class Visible:
    """Passes an answer's text on as it comes, up to the first tool call."""

    def __init__(self) -> None:
        self._held = ""
        self._ended = False

    def push(self, piece: str) -> str:
        """What may be shown now; what may be a tag's beginning is held back until it is known."""
        if self._ended:
            return ""
        text = self._held + piece
        begins = [at for at in (text.find("<tool_call>"), text.find("<function=")) if at >= 0]
        if begins:
            self._ended, self._held = True, ""
            return text[: min(begins)]
        at = begun_tag(text)
        self._held = "" if at is None else text[at:]
        return text if at is None else text[:at]

    def finish(self) -> str:
        """What was held back, and was no tag after all."""
        held, self._held = self._held, ""
        return held


def _closes(fence: re.Match[str], opened: re.Match[str]) -> bool:
    same = fence[2][0] == opened[2][0] and len(fence[2]) >= len(opened[2])
    return same and not fence[3].strip()


def _language(opened: re.Match[str]) -> str:
    return next(iter(opened[3].split()), "").strip("{}.").lower()


def _outdented(line: str, by: int) -> str:
    return line[min(by, len(line) - len(line.lstrip(" "))) :]


def _is_prose(line: str) -> bool:
    """A sentence, as they stand around code that came without fences."""
    return len(line.split()) >= 3 and _SENTENCE.match(line.strip()) is not None
