"""Turns files into training documents: plain files, repository sequences, fill-in-the-middle.

Invariant: a document's parts, decoded and put back in file order, are the file's own text; every part is
tokenized alone, exactly where the engine tokenizes alone (header, context file, prefix, typed part, suffix).

The forms are those of `deltaloom_model.prompts`:

    PSM   <|file_sep|>path\\n <|fim_prefix|> P <|fim_suffix|> S <|fim_middle|> typed rest <|endoftext|>
    SPM   <|file_sep|>path\\n <|fim_prefix|> <|fim_suffix|> S <|fim_middle|> P typed rest <|endoftext|>
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Literal

from deltaloom_model.training.corpus import SourceFile

FimOrder = Literal["psm", "spm"]

SUFFIX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Special:
    """A special token, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is tokenized alone, cut to `max_tokens` at a line's end where one is near (0: whole)."""

    text: str
    max_tokens: int = 0


Part = Special | Text
Document = tuple[Part, ...]

END = Special("<|endoftext|>")


@dataclass(frozen=True, slots=True)
class FimSplit:
    """A file cut for filling in: prefix + typed + rest + suffix. `prefix` ends where a line starts."""

    prefix: str
    typed: str
    rest: str
    suffix: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each form is drawn. Shares of files, except where said."""

    plain: float = 0.4
    fim_of_targets: float = 0.6
    psm: float = 0.75
    within_line: float = 0.7
    single_line: float = 0.55
    random_span: float = 0.10
    with_context: float = 0.5


def repository_header(package: str) -> Document:
    """`<|repo_name|>name\\n`."""
    return (Special("<|repo_name|>"), Text(package + "\n"))


def segment(file: SourceFile, text: str | None = None) -> Document:
    """`<|file_sep|>path\\n` and the file's text (or the part of it that is given)."""
    return (*segment_header(file.path), Text(file.text if text is None else text))


def segment_header(path: str) -> Document:
    """`<|file_sep|>path\\n`."""
    return (Special("<|file_sep|>"), Text(path + "\n"))


def fim_document(path: str, split: FimSplit, order: FimOrder) -> Document:
    """The file in FIM form, in PSM order or in SPM's second variant (prefix and middle contiguous)."""
    suffix = (Special("<|fim_suffix|>"), Text(split.suffix, SUFFIX_TOKENS))
    middle = (Text(split.typed), Text(split.rest), END)
    head = (*segment_header(path), Special("<|fim_prefix|>"))
    if order == "psm":
        return (*head, Text(split.prefix), *suffix, Special("<|fim_middle|>"), *middle)
    return (*head, *suffix, Special("<|fim_middle|>"), Text(split.prefix), *middle)


def draw_split(text: str, draw: random.Random, mixture: Mixture) -> FimSplit | None:
    """Cut a text at a drawn cursor; None where it has no line worth completing."""
    lines = text.split("\n")
    row = _draw_row(lines, draw)
    if row is None:
        return None
    start = sum(len(line) + 1 for line in lines[:row])
    column = _draw_column(lines[row], draw) if draw.random() < mixture.within_line else 0
    cursor = start + column
    kind = draw.random()
    if kind < mixture.single_line:
        end = start + len(lines[row])
    elif kind < 1 - mixture.random_span:
        last = _last_row(lines, row, draw)
        end = start + sum(len(line) + 1 for line in lines[row : last + 1]) - 1
    else:
        end = min(len(text), cursor + draw.randint(1, 200))
    return FimSplit(text[:start], text[start:cursor], text[cursor:end], text[end:])


def block_end(lines: list[str], row: int, most: int) -> int:
    """The last row of the block that begins at `row`: what follows is no deeper, or `most` rows on."""
    indent = _indent(lines[row])
    last = row
    for index in range(row + 1, min(len(lines), row + 1 + most)):
        if not lines[index].strip():
            continue
        if _indent(lines[index]) <= indent:
            break
        last = index
    return last


def bounded(split: FimSplit, prefix_characters: int, suffix_characters: int) -> FimSplit:
    """Keep the prefix's end, from a line's start on, and the suffix's head, up to a line's end."""
    prefix, suffix = split.prefix, split.suffix
    if len(prefix) > prefix_characters:
        newline = prefix.find("\n", len(prefix) - prefix_characters, len(prefix) - 1)
        prefix = prefix[newline + 1 :] if newline >= 0 else prefix[prefix.rfind("\n", 0, -1) + 1 :]
    return FimSplit(prefix, split.typed, split.rest, head_of(suffix, suffix_characters))


def head_of(text: str, characters: int) -> str:
    """At most the first `characters` of a text, ending after a newline where there is one."""
    if len(text) <= characters:
        return text
    newline = text.rfind("\n", 0, characters)
    return text[: newline + 1] if newline >= 0 else text[:characters]


def related_files(
    target: SourceFile, files: list[SourceFile], draw: random.Random | None = None
) -> list[SourceFile]:
    """The package's other files, the least related first: imported ones and neighbours stand last.

    Equally related ones stand by path, or in an order that is drawn.
    """
    imported = _imports(target.text)
    folder = target.path.rpartition("/")[0]

    def nearness(file: SourceFile) -> int:
        place, _, name = file.path.rpartition("/")
        return 2 * (name.rpartition(".")[0] in imported) + (place == folder)

    others = sorted((f for f in files if f.path != target.path), key=lambda f: f.path)
    if draw is not None:
        draw.shuffle(others)
    return sorted(others, key=nearness)


def first_ids(ids: list[int], starts: list[int], text: str, most: int) -> list[int]:
    """The first `most` of more ids, ending where a line ends if one does in the second half.

    `starts[i]` is the character of `text` at which token i begins.
    """
    for cut in range(most, most // 2, -1):
        if text[starts[cut] - 1] == "\n":
            return ids[:cut]
    return ids[:most]


def _draw_row(lines: list[str], draw: random.Random) -> int | None:
    for _ in range(20):
        row = draw.randrange(len(lines))
        line = lines[row].strip()
        # Comments, prose and brackets alone teach little about code: they are kept now and then.
        worth = len(line) >= 4 and not line.startswith(("#", "//", "*", '"""', "'''"))
        if worth or (line and draw.random() < 0.15):
            return row
    return None


def _draw_column(line: str, draw: random.Random) -> int:
    first = len(line) - len(line.lstrip())
    kind = draw.random()
    if kind < 0.2:
        return first
    if kind < 0.6:
        borders = [m.start() for m in re.finditer(r"\b|(?<=\W)(?=\W)", line) if m.start() >= first]
        if borders:
            return draw.choice(borders)
    return draw.randint(first, len(line))


def _last_row(lines: list[str], row: int, draw: random.Random) -> int:
    last = block_end(lines, row, 12) if draw.random() < 0.5 else row + draw.randint(1, 8)
    last = min(last, len(lines) - 1)
    while last > row and not lines[last].strip():
        last -= 1
    return last


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _imports(text: str) -> frozenset[str]:
    """The last component of every module named in an import statement, and the names imported from one."""
    found: set[str] = set()
    for match in re.finditer(r"^\s*(?:from\s+([\w.]+)\s+import\s+([\w, ]+)|import\s+([\w., ]+))", text, re.M):
        for group in match.groups():
            for name in re.split(r"[,\s]+", group or ""):
                found.add(name.rpartition(".")[2])
    return frozenset(found - {"", "__init__"})
