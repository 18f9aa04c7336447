"""Whether to ask the model at a cursor, and where its answer has to end.

Invariant: a pure function of the text around the cursor and the settings; a "no" always has its reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from deltaloom_model.api import StopRules
from deltaloom_model.stopping import indentation

from ..settings import CompletionSettings

CLOSERS = frozenset(")]}>\"'`;:,")
"""What may stand after the cursor without being code that an answer would have to work around."""

_OPENERS = (":", "{", "=>", "->")
_OPENING_WORDS = frozenset({"do", "then", "else", "begin", "try"})
_MOST_LINES = 24
_SINGLE_LINE_TOKENS = 48


@dataclass(frozen=True, slots=True)
class CursorLine:
    """The cursor's line, and what stands below it. `typed` ends at the cursor, `rest` begins there.

    `next_line` is the first non-blank line below, "" where there is none.
    """

    typed: str
    rest: str
    next_line: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the model, for at most this many tokens, with these rules."""

    max_new_tokens: int
    stop: StopRules


def judge_cursor(line: CursorLine, settings: CompletionSettings, *, automatic: bool) -> Ask | str:
    """What to ask for, or in one sentence why nothing is.

    `automatic`: the editor asks because of a keystroke, so places where an answer would disturb are passed
    over.
    """
    if not settings.enabled:
        return "Completions are switched off (completion.enabled)."
    rest = line.rest.strip()
    if automatic and rest and not CLOSERS.issuperset(rest.replace(" ", "")):
        if line.rest[0].isalnum() or line.rest[0] == "_":
            return "The cursor stands within a word."
        return "Code follows on the cursor's line; ask for a suggestion explicitly to get one."
    if not settings.multiline or not _wants_lines(line):
        return Ask(min(settings.max_new_tokens, _SINGLE_LINE_TOKENS), StopRules(max_lines=1))
    return Ask(
        settings.max_new_tokens,
        StopRules(
            max_lines=_MOST_LINES,
            block_indent=_block_indent(line),
            next_line=line.next_line,
            blank_lines=1,
            repeats=1,
        ),
    )


def _wants_lines(line: CursorLine) -> bool:
    """Would a person write on in the next line? On a blank line, and after what opens a block."""
    if line.rest.strip():
        return False
    code = line.typed.strip()
    return not code or code.endswith(_OPENERS) or code.split()[-1] in _OPENING_WORDS


def _block_indent(line: CursorLine) -> int:
    """The least indentation of what belongs to the answer's block.

    On a blank line the cursor's own column; after a line that opens a block that line's, since what closes
    the block may stand there, but for a Python block, which is deeper than its header.
    """
    columns = indentation(line.typed)
    code = line.typed.strip()
    return columns + 1 if code.endswith(":") else columns
