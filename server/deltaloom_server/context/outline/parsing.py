"""Parsing with a limit of time. Invariant: a grammar is loaded when its first text comes, once a process."""

from __future__ import annotations

import importlib
import re
import time
from functools import cache

from tree_sitter import Language as Grammar
from tree_sitter import Node, Parser

from .languages import Language

_SECONDS = 2.0
_PIECE = 1 << 16
_MOST_ANGLES = 2000
_MOST_ARROWS = 500
_STATEMENT = re.compile(rb"[^;{}]+")


@cache
def _grammar(module: str, factory: str) -> Grammar:
    return Grammar(getattr(importlib.import_module(module), factory)())


def _is_contrived(source: bytes) -> bool:
    """Is there a statement with thousands of unclosed `<`, or hundreds of `=>`? Whether those compare, open
    type arguments or begin lambdas takes a parser time that grows with the square or cube of their number,
    in one step that can't be broken off."""
    for match in _STATEMENT.finditer(source):
        statement = match.group()
        arrows = statement.count(b"=>")
        if arrows > _MOST_ARROWS or statement.count(b"<") - statement.count(b">") + arrows > _MOST_ANGLES:
            return True
    return False


def parse(language: Language, source: bytes) -> Node | None:
    """The root of the syntax tree; None where parsing takes over two seconds, as contrived nesting can."""
    if _is_contrived(source):
        return None
    parser = Parser(_grammar(language.module, language.factory))
    end = time.monotonic() + _SECONDS
    try:
        tree = parser.parse(
            lambda offset, _: source[offset : offset + _PIECE],
            progress_callback=lambda _offset, _error: time.monotonic() > end,
        )
    except ValueError:  # what the binding raises for a parse that was broken off
        return None
    return tree.root_node
