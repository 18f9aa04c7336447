"""A command line for the shell, with values in it, taken apart into what a program is started with.

Invariant: for values without anything special to the shell, the words are those that `sh` would make; a line
that needs a shell (pipes, several commands, substitutions) has none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.codemods.template import Hole, Part, as_text, compose, constant_string

_NEEDS_SHELL = frozenset("|;()`!#<>\n\r")
BUILTINS = frozenset(
    ("alias", "bg", "break", "builtin", "case", "cd", "cls", "command", "continue", "copy", "del", "dir",
     "do", "done", "elif", "else", "esac", "eval", "exec", "exit", "export", "fg", "fi", "for",
     "function", "getopts", "hash", "if", "jobs", "local", "popd", "pushd", "read", "readonly", "return",
     "set", "shift", "source", "start", "then", "time", "times", "trap", "type", "typeset", "ulimit",
     "umask", "unalias", "unset", "until", "wait", "while", ".", ":", "[[")
)  # fmt: skip
_SEVERAL = re.compile(r"(?:^|_)(?:args|arguments|flags|options|opts|params|extra)$", re.IGNORECASE)
_PROGRAM = re.compile(r"(?:bin|binary|exe|executable|path|python|tool|program|prog)$", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_REDIRECTION = re.compile(r"(&|[012])?(>>?|<)(?![<&>(])[ \t]*")
_VALUED = {
    "rm": "", "cat": "", "ls": "ITw", "cp": "tS", "mv": "tS", "mkdir": "m", "rmdir": "", "touch": "drt",
    "chmod": "", "chown": "", "ln": "tS", "wc": "", "head": "nc", "tail": "nc", "sort": "kotST", "du":
    "dBtX", "stat": "cf", "grep": "efABCmdD", "md5sum": "", "sha1sum": "", "sha256sum": "", "readlink":
    "", "realpath": "", "ping": "cIiWwstpQlmMFS", "gzip": "S", "gunzip": "S", "df": "Bt", "file":
    "mefFP", "cut": "dfcb", "git clone": "bcuoj", "git ls-remote": "o", "wget": "OPoatTwQUeiBDARIlX",
    "diff": "UCIxXWSF",
}  # fmt: skip
"""Programs that take "--" for the end of their options: their options of one letter that take a value."""


@dataclass
class Word:
    """One word. `spread`: an expression of which each element is a word; `pattern`: it has wildcards."""

    parts: list[Part] = field(default_factory=list)
    spread: str = ""
    pattern: bool = False
    quoted: bool = False

    @property
    def literal(self) -> str | None:
        if self.spread or any(isinstance(part, Hole) for part in self.parts):
            return None
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def wild(self) -> bool:
        """Does a shell look for files with such names? In an address a "?" is nothing but that."""
        letters = "".join(part for part in self.parts if isinstance(part, str))
        return self.pattern and "://" not in letters and ("*" in letters or "?" in letters)

    @property
    def starts_with_value(self) -> bool:
        return bool(self.spread or self.wild) or bool(self.parts and isinstance(self.parts[0], Hole))


@dataclass
class Command:
    """`files`: where standard input, output and errors go: (0, 1 or 2, mode, file); "STDOUT" as the file is
    where the output goes."""

    words: list[Word]
    variables: list[tuple[str, Word]] = field(default_factory=list)
    directory: Word | None = None
    files: list[tuple[int, str, Word]] = field(default_factory=list)
    background: bool = False

    @property
    def reads_environment(self) -> bool:
        """Does one of its words hold a variable of the shell's?"""
        words = [*self.words, *(word for _, _, word in self.files), *(word for _, word in self.variables)]
        return any(isinstance(part, Hole) and part.node is _NOTHING for word in words for part in word.parts)

    @property
    def is_words_only(self) -> bool:
        """Nothing but a program and its arguments?"""
        return not (self.variables or self.directory or self.files or self.background)


@dataclass
class _Reading:
    source: Source
    use: Callable[[str, str], str]
    words: list[Word] = field(default_factory=list)
    files: list[tuple[int, str, Word]] = field(default_factory=list)
    directory: Word | None = None
    current: Word | None = None
    target: tuple[int, str] | None = None
    mode: str = ""
    background: bool = False

    def word(self) -> Word:
        if self.current is None:
            self.current = Word()
        return self.current

    def end_word(self) -> None:
        if self.current is None:
            return
        if self.target is not None:
            self.files.append((*self.target, self.current))
            self.target = None
        else:
            self.words.append(self.current)
        self.current = None


def read_command(source: Source, parts: Sequence[Part], use: Callable[[str, str], str]) -> Command | None:
    """The one command that a line is; None where it needs a shell or can't be told.

    `use(module, name)` tells how to write a module's function here.
    """
    reading = _Reading(source, use)
    for number, part in enumerate(parts):
        if isinstance(part, str):
            if not _literal(reading, part.rstrip() if number == len(parts) - 1 else part):
                return None
        elif not _hole(reading, part, parts, number):
            return None
    reading.end_word()
    if reading.mode or reading.target is not None:
        return None
    variables: list[tuple[str, Word]] = []
    words = reading.words
    while words and (assigned := _assignment(words[0])) is not None:
        variables.append(assigned)
        words = words[1:]
    if not words or not _is_program(words[0]):
        return None
    return Command(words, variables, reading.directory, reading.files, reading.background)


def guarded(words: Sequence[Word]) -> list[Word]:
    """With "--" before the first operand where a value after it might begin with a dash."""
    program = (words[0].literal or "").rpartition("/")[2]
    at = 1
    if program == "git" and len(words) > 1:
        program, at = f"git {words[1].literal}", 2
    valued = _VALUED.get(program)
    first: int | None = None
    if valued is None:
        return list(words)
    while at < len(words):
        literal = words[at].literal
        if literal == "--" or (literal is not None and literal.startswith("--") and "=" not in literal):
            return list(words)
        if literal is not None and len(literal) > 1 and literal.startswith("-"):
            if first is not None:
                return list(words)
            at += 2 if literal[-1] in valued and not literal.startswith("--") else 1
            continue
        first = at if first is None else first
        at += 1
    if first is None or not any(word.starts_with_value for word in words[first:]):
        return list(words)
    return [*words[:first], Word(["--"]), *words[first:]]


def _literal(reading: _Reading, text: str) -> bool:
    at = 0
    while at < len(text):
        step = _quoted_step(reading, text, at) if reading.mode else _plain_step(reading, text, at)
        if step == 0:
            return False
        at += step
    return True


def _quoted_step(reading: _Reading, text: str, at: int) -> int:
    """Takes in what stands at `at`, inside quotes: how many letters; 0 where a shell is needed."""
    letter, word = text[at], reading.word()
    if letter == reading.mode:
        reading.mode = ""
    elif reading.mode == "'":
        word.parts.append(letter)
    elif letter == "\\" and at + 1 < len(text) and text[at + 1] in '$`"\\':
        word.parts.append(text[at + 1])
        return 2
    elif letter == "`":
        return 0
    elif letter == "$":
        return _variable(reading, text, at)
    else:
        word.parts.append(letter)
    return 1


def _plain_step(reading: _Reading, text: str, at: int) -> int:
    letter = text[at]
    redirection = _REDIRECTION.match(text, at)
    if redirection is not None and (redirection[1] is None or reading.current is None):
        return len(redirection[0]) if _redirect(reading, redirection) else 0
    if text.startswith("2>&1", at) and reading.current is None:
        reading.files.append((2, "STDOUT", Word(["&1"])))
        return 4
    if letter in " \t" or (letter == "\n" and not reading.words and reading.current is None):
        reading.end_word()
    elif letter in "'\"":
        reading.mode = letter
        reading.word().quoted = True
    elif letter == "\\":
        if at + 1 >= len(text):
            return 0
        if text[at + 1] != "\n":
            reading.word().parts.append(text[at + 1])
        return 2
    elif letter == "$":
        return _variable(reading, text, at)
    elif letter == "&":
        return _ampersand(reading, text, at)
    elif letter in _NEEDS_SHELL:
        return 0
    elif letter in "*?[":
        reading.word().pattern = True
        reading.word().parts.append(letter)
    elif letter in "{}":
        if text[at : at + 2] != "{}" or reading.current is not None:
            return 0
        reading.word().parts.append("{}")
        return 2
    elif letter == "~" and reading.current is None:
        if not re.match(r"~(?=/|\s|$)", text[at:]):
            return 0
        home = f'{reading.use("os", "path")}.expanduser("~")'
        reading.word().parts.append(Hole(_NOTHING, home, is_text=True))
    else:
        reading.word().parts.append(letter)
    return 1


def _redirect(reading: _Reading, match: re.Match[str]) -> bool:
    reading.end_word()
    if reading.target is not None:
        return False
    mode = {">": "wb", ">>": "ab", "<": "rb"}[match[2]]
    if match[1] == "&":
        reading.files.append((2, "STDOUT", Word(["&>"])))
    number = int(match[1]) if match[1] and match[1] != "&" else 0 if mode == "rb" else 1
    if (number == 0) != (mode == "rb"):
        return False
    reading.target = (number, mode)
    return True


def _ampersand(reading: _Reading, text: str, at: int) -> int:
    """`cd somewhere && …` at the very start, and `… &` at the very end."""
    reading.end_word()
    if text[at:] == "&":
        reading.background = True
        return 1
    if not text.startswith("&&", at) or reading.directory is not None or reading.files:
        return 0
    if len(reading.words) != 2 or reading.words[0].literal != "cd" or reading.words[1].pattern:
        return 0
    reading.directory = reading.words[1]
    reading.words = []
    return 2


def _variable(reading: _Reading, text: str, at: int) -> int:
    match = _VARIABLE.match(text, at)
    if match is None:
        return 0
    value = f'{reading.use("os", "environ")}.get("{match[1] or match[2]}", "")'
    reading.word().parts.append(Hole(_NOTHING, value, is_text=True))
    return len(match[0])


def _hole(reading: _Reading, hole: Hole, parts: Sequence[Part], number: int) -> bool:
    if reading.background:
        return False
    unquoted = unquoted_value(reading.source, hole)
    if reading.mode:
        reading.word().parts.append(unquoted or hole)
        return True
    constant = constant_string(reading.source, hole.node)
    if constant is not None and not hole.shaped and not reading.words and reading.current is None:
        return _literal(reading, constant)
    after = parts[number + 1] if number + 1 < len(parts) else " "
    whole = reading.current is None and isinstance(after, str) and after[:1] in " \t\n;"
    several = _several(reading, hole) if whole and reading.target is None else ""
    if several and reading.words:
        reading.current = Word(spread=several)
    else:
        reading.word().parts.append(unquoted or hole)
    return True


def unquoted_value(source: Source, hole: Hole) -> Hole | None:
    """The value that shlex.quote, or repr, made fit for the shell."""
    node = hole.node
    if hole.shaped and re.fullmatch(r"f(['\"])\{.*!r\}\1", hole.text):
        return Hole(node, ast.unparse(node))
    if hole.shaped or not isinstance(node, ast.Call) or len(node.args) != 1 or node.keywords:
        return None
    called = source.qualified(node.func)
    if called in ("shlex.quote", "pipes.quote", "repr"):
        return Hole(node.args[0], ast.unparse(node.args[0]), is_text=called != "repr")
    return None


def _several(reading: _Reading, hole: Hole) -> str:
    """An expression for the words that stood in one value."""
    node = hole.node
    if hole.shaped:
        return ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        space = node.func.value
        if not (isinstance(space, ast.Constant) and space.value == " " and len(node.args) == 1):
            return ""
        [joined] = node.args
        if isinstance(joined, ast.Call) and reading.source.qualified(joined.func) == "map":
            if reading.source.qualified(joined.args[0]) in ("shlex.quote", "pipes.quote"):
                return ast.unparse(joined.args[1])
        elif isinstance(joined, ast.GeneratorExp | ast.ListComp) and len(joined.generators) == 1:
            inner = unquoted_value(reading.source, Hole(joined.elt, ""))
            [one] = joined.generators
            if inner is not None and inner.text == ast.unparse(one.target) and not one.ifs:
                return ast.unparse(one.iter)
        return ast.unparse(joined)
    if isinstance(node, ast.Call) and reading.source.qualified(node.func) == "shlex.join":
        return ast.unparse(node.args[0])
    if _SEVERAL.search(ast.unparse(node).rpartition(".")[2]):
        return f"{reading.use('shlex', 'split')}({hole.text})"
    return ""


def _assignment(word: Word) -> tuple[str, Word] | None:
    """`NAME=value` before a command."""
    if word.spread or word.pattern or not word.parts:
        return None
    merged = "".join(part if isinstance(part, str) else "\0" for part in word.parts)
    match = re.match(r"[A-Za-z_]\w*=", merged)
    if match is None:
        return None
    rest = word.parts[len(match[0]) :]
    return match[0][:-1], Word(list(rest))


def _is_program(word: Word) -> bool:
    if word.wild or word.spread:
        return False
    literal = word.literal
    if literal is not None:
        return bool(literal) and literal not in BUILTINS
    if len(word.parts) > 1:
        return True
    [only] = word.parts
    return isinstance(only, Hole) and bool(word.quoted or _PROGRAM.search(ast.unparse(only.node)))


def text_of(word: Word, use: Callable[[str, str], str]) -> str | None:
    """A word as a member of a list; None where quotes decide which of its wildcards count."""
    if word.spread:
        return f"*{word.spread}"
    if not word.wild:
        return compose(word.parts)
    if word.quoted:
        return None
    find = use("glob", "glob")
    escape = find.removesuffix("glob") + "escape"
    safe: list[Part] = [
        part if isinstance(part, str) else Hole(_NOTHING, f"{escape}({as_text(part)})", is_text=True)
        for part in word.parts
    ]
    if escape == "escape" and any(isinstance(part, Hole) for part in word.parts):
        escape = use("glob", "escape")
    return f"*(sorted({find}({compose(safe)})) or [{compose(word.parts)}])"


_NOTHING = ast.Name("_", ast.Load())
