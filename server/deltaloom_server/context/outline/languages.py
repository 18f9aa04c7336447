"""Which syntax nodes of each language are declarations, and how a body is left out. Tables only.

Invariant: every name here is a node type of the grammar it stands for (a test asks the grammars).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["brace", "indent", "end"]
"""How a language marks a body: `{ … }`, indentation, or `… end`."""


def _types(names: str) -> frozenset[str]:
    return frozenset(names.split())


@dataclass(frozen=True)
class Language:
    """One grammar: `module` and `factory` give it, the sets name its node types.

    `callables` have a body to leave out, `containers` a body of members, `values` an initializer that is
    kept where it's short, `wholes` are kept as they are up to a limit, `wrappers` begin before the
    declaration they hold (decorators, `export`, `template`), `transparent` nodes hold declarations and show
    nothing themselves. `cuts` are types at which a body begins where the grammar has no field `body`.
    `marks` are one-word members (`public:`). `terminator` ends a container's last line.
    """

    module: str
    factory: str
    callables: frozenset[str]
    containers: frozenset[str]
    values: frozenset[str]
    comments: frozenset[str]
    style: Style = "brace"
    wholes: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    transparent: frozenset[str] = frozenset()
    cuts: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    terminator: str = ""

    @property
    def node_types(self) -> frozenset[str]:
        """Every node type named here."""
        return frozenset().union(
            self.callables, self.containers, self.values, self.comments, self.wholes, self.wrappers,
            self.transparent, self.cuts, self.marks, self.attributes,
        )  # fmt: skip


_PYTHON = Language(
    "tree_sitter_python",
    "language",
    callables=_types("function_definition"),
    containers=_types("class_definition"),
    values=_types("assignment"),
    comments=frozenset(),
    style="indent",
    wholes=_types("type_alias_statement"),
    wrappers=_types("decorated_definition expression_statement"),
    transparent=_types(
        "if_statement else_clause elif_clause try_statement except_clause finally_clause with_statement block"
    ),
)

_JAVASCRIPT = Language(
    "tree_sitter_javascript",
    "language",
    callables=_types("function_declaration generator_function_declaration method_definition"),
    containers=_types("class_declaration class"),
    values=_types("lexical_declaration variable_declaration field_definition assignment_expression"),
    comments=_types("comment"),
    wrappers=_types("export_statement expression_statement"),
)

_TYPESCRIPT = Language(
    "tree_sitter_typescript",
    "language_typescript",
    callables=_JAVASCRIPT.callables,
    containers=_types("class_declaration class abstract_class_declaration internal_module module"),
    values=_types("lexical_declaration variable_declaration public_field_definition assignment_expression"),
    comments=_JAVASCRIPT.comments,
    wholes=_types(
        "interface_declaration type_alias_declaration enum_declaration function_signature method_signature"
        " abstract_method_signature index_signature"
    ),
    wrappers=_types("export_statement expression_statement ambient_declaration"),
    attributes=_types("decorator"),
)

_GO = Language(
    "tree_sitter_go",
    "language",
    callables=_types("function_declaration method_declaration"),
    containers=frozenset(),
    values=frozenset(),
    comments=_types("comment"),
    wholes=_types("package_clause type_declaration const_declaration var_declaration"),
)

_RUST = Language(
    "tree_sitter_rust",
    "language",
    callables=_types("function_item macro_definition"),
    containers=_types("trait_item impl_item mod_item foreign_mod_item"),
    values=_types("const_item static_item"),
    comments=_types("line_comment block_comment"),
    wholes=_types("struct_item enum_item union_item type_item associated_type function_signature_item"),
    cuts=_types("macro_rule"),
    attributes=_types("attribute_item"),
)

_JAVA = Language(
    "tree_sitter_java",
    "language",
    callables=_types("method_declaration constructor_declaration compact_constructor_declaration"),
    containers=_types(
        "class_declaration interface_declaration enum_declaration record_declaration"
        " annotation_type_declaration"
    ),
    values=_types("field_declaration constant_declaration"),
    comments=_types("line_comment block_comment"),
    wholes=_types("package_declaration annotation_type_element_declaration"),
    transparent=_types("enum_body_declarations"),
    marks=_types("enum_constant"),
)

_C = Language(
    "tree_sitter_c",
    "language",
    callables=_types("function_definition preproc_function_def"),
    containers=_types("struct_specifier union_specifier linkage_specification"),
    values=_types("declaration preproc_def field_declaration"),
    comments=_types("comment"),
    wholes=_types("enum_specifier type_definition"),
    transparent=_types("preproc_ifdef preproc_if preproc_else preproc_elif declaration_list"),
    cuts=_types("compound_statement preproc_arg"),
    terminator=";",
)

_CPP = Language(
    "tree_sitter_cpp",
    "language",
    callables=_C.callables,
    containers=_C.containers | _types("class_specifier namespace_definition"),
    values=_C.values | _types("alias_declaration"),
    comments=_C.comments,
    wholes=_C.wholes | _types("concept_definition friend_declaration"),
    wrappers=_types("template_declaration"),
    transparent=_C.transparent,
    cuts=_C.cuts | _types("field_initializer_list try_statement"),
    marks=_types("access_specifier"),
    terminator=";",
)

_RUBY = Language(
    "tree_sitter_ruby",
    "language",
    callables=_types("method singleton_method"),
    containers=_types("module class singleton_class"),
    values=_types("assignment"),
    comments=_types("comment"),
    style="end",
    wholes=_types("call"),
    marks=_types("identifier"),
)

_PHP = Language(
    "tree_sitter_php",
    "language_php",
    callables=_types("function_definition method_declaration"),
    containers=_types(
        "class_declaration interface_declaration trait_declaration enum_declaration namespace_definition"
    ),
    values=_types("const_declaration property_declaration"),
    comments=_types("comment"),
    wholes=_types("php_tag use_declaration enum_case"),
)

_C_SHARP = Language(
    "tree_sitter_c_sharp",
    "language",
    callables=_types(
        "method_declaration constructor_declaration destructor_declaration operator_declaration"
        " conversion_operator_declaration indexer_declaration property_declaration"
    ),
    containers=_types(
        "namespace_declaration class_declaration struct_declaration record_declaration interface_declaration"
    ),
    values=_types("field_declaration event_field_declaration"),
    comments=_types("comment"),
    wholes=_types("delegate_declaration enum_declaration file_scoped_namespace_declaration"),
    transparent=_types("preproc_if preproc_else"),
    cuts=_types("constructor_initializer accessor_list arrow_expression_clause"),
)

_TSX = Language(
    _TYPESCRIPT.module,
    "language_tsx",
    callables=_TYPESCRIPT.callables,
    containers=_TYPESCRIPT.containers,
    values=_TYPESCRIPT.values,
    comments=_TYPESCRIPT.comments,
    wholes=_TYPESCRIPT.wholes,
    wrappers=_TYPESCRIPT.wrappers,
    attributes=_TYPESCRIPT.attributes,
)

LANGUAGES: dict[str, Language] = {
    suffix: language
    for language, suffixes in (
        (_PYTHON, "py pyi"),
        (_JAVASCRIPT, "js jsx mjs cjs"),
        (_TYPESCRIPT, "ts mts cts"),
        (_TSX, "tsx"),
        (_GO, "go"),
        (_RUST, "rs"),
        (_JAVA, "java"),
        (_C, "c"),
        (_CPP, "h cc cpp cxx hpp hh hxx cu cuh"),
        (_RUBY, "rb"),
        (_PHP, "php"),
        (_C_SHARP, "cs"),
    )
    for suffix in suffixes.split()
}
"""By lower-case suffix. `.h` is read as C++, which has nearly all of C."""


def language_of(path: str) -> Language | None:
    """The language of a file by its suffix; None where there is no grammar."""
    name = path.rpartition("/")[2]
    return LANGUAGES.get(name.rpartition(".")[2].lower()) if "." in name else None


def has_grammar(path: str) -> bool:
    """Can a file of this name have an outline?"""
    return language_of(path) is not None
