"""Declarations that give a value: which of them are constants, and where the value begins.

Invariant: pure functions of a node; nothing below its declarators is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .languages import Language

if TYPE_CHECKING:
    from tree_sitter import Node

FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function"})
"""Values with a body of their own, which is left out like any body."""


def initializer(node: Node) -> Node | None:
    """The value that a declaration gives, looked for in its declarators; None where it gives none."""
    for _ in range(3):
        for name in ("value", "right"):
            value = node.child_by_field_name(name)
            if value is not None:
                return value
        declarators = [
            child
            for child in node.children
            if child.type.endswith(("declarator", "declaration", "element")) and child.is_named
        ]
        if len(declarators) != 1:
            return None
        node = declarators[0]
    return None


def is_constant(language: Language, source: bytes, node: Node, *, is_member: bool) -> bool:
    """Is this worth a line: not the variables of a script, imports by call, or an include guard?"""
    if node.type == "assignment":
        left = node.child_by_field_name("left")
        if left is None or language.style == "end":
            return left is not None and left.type == "constant"
        if left.type != "identifier":
            return False
        annotated = node.child_by_field_name("type") is not None
        return is_member or annotated or source[left.start_byte : left.end_byte].decode().isupper()
    if node.type == "preproc_def":
        return node.child_by_field_name("value") is not None
    if node.type in ("lexical_declaration", "variable_declaration"):
        value = initializer(node)
        if value is None or source.startswith(b"require(", value.start_byte):
            return False
        return source.startswith(b"const", node.start_byte) or value.type in FUNCTION_VALUES
    return True
