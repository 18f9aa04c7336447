"""Which licences a training package may have, as read from its own metadata.

Invariant: a package is admitted only by a licence that is named in `ADMITTED`; anything unknown, and
anything that also names a copyleft licence without offering a choice, is refused with a reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message

ADMITTED = frozenset(
    {
        "MIT", "MIT-0", "MIT-CMU", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Apache-2.0", "ISC", "PSF-2.0",
        "Python-2.0", "Zlib", "Unlicense", "HPND", "CC0-1.0",
    }
)  # fmt: skip
_EXCEPTIONS = frozenset({"LLVM-exception"})

_CLASSIFIERS = {
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "zlib/libpng License": "Zlib",
    "The Unlicense (Unlicense)": "Unlicense",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "Zero-Clause BSD (0BSD)": "0BSD",
}

# What authors write into the free-text field, lower case, as whole-field patterns.
_FIELD = (
    (r"(the )?mit([ -]licen[cs]e)?( \(mit\))?|expat", "MIT"),
    (r"apache([ -]licen[cs]e)?,?( software license)?[ -]?(version |v)?2?(\.0)?( licen[cs]e)?", "Apache-2.0"),
    (r"(the |new |modified |revised )*(bsd|3-clause bsd|bsd[ -]3[ -]clause|bsd-3-clause)"
     r"( licen[cs]e| style)?", "BSD-3-Clause"),
    (r"(bsd[ -])?2-clause( bsd)?( licen[cs]e)?|simplified bsd( licen[cs]e)?", "BSD-2-Clause"),
    (r"isc([ -]licen[cs]e)?", "ISC"),
    (r"psf(-2\.0)?|psfl|python software foundation( licen[cs]e)?", "PSF-2.0"),
    (r"zlib( licen[cs]e)?", "Zlib"),
    (r"(the )?unlicense", "Unlicense"),
    (r"hpnd", "HPND"),
    (r"0bsd", "0BSD"),
)  # fmt: skip
# `\bgpl` also finds AGPL, LGPL and their long names; a permissive text never contains these words.
_COPYLEFT = re.compile(
    r"\b(a|l)?gpl|general public licen|mozilla public|\bmpl|\beupl|\bcddl|\bepl\b|eclipse public|"
    r"creative commons.*share|\bcc-by-sa|\bsspl|business source|proprietary|commercial",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LicenceVerdict:
    """`spdx` is the admitted SPDX expression, or "" with the `reason` of the refusal."""

    spdx: str
    reason: str = ""


def judge(metadata: Message) -> LicenceVerdict:
    """Judge a distribution's core metadata (PEP 639's License-Expression first, then the older fields)."""
    expression = str(metadata.get("License-Expression") or "").strip()
    if expression:
        return _judge_expression(expression)
    field = str(metadata.get("License") or "").strip()
    classifiers = [c for c in map(str, metadata.get_all("Classifier", [])) if c.startswith("License ::")]
    # A whole licence text stands in the field now and then; only its first words are looked at here.
    for claim in (field[:200], *classifiers):
        if _COPYLEFT.search(claim):
            return LicenceVerdict("", f"names a licence that is not admitted: {claim.splitlines()[0][:80]}")
    if re.fullmatch(r"[A-Za-z0-9.()-]+( (AND|OR|WITH) [A-Za-z0-9.()-]+)+", field):
        return _judge_expression(field)
    found = _field_licence(field) or _classifier_licence(classifiers)
    if not found:
        return LicenceVerdict(
            "", f"no known licence in the metadata: {field.splitlines()[0][:80] if field else '-'}"
        )
    return LicenceVerdict(found)


def _judge_expression(expression: str) -> LicenceVerdict:
    """SPDX expression: with OR one admitted side is enough, with AND every part has to be admitted."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    try:
        admitted, rest = _either(tokens)
    except IndexError:
        admitted, rest = False, ["?"]
    if rest or not admitted:
        return LicenceVerdict("", f"not admitted: {expression[:80]}")
    return LicenceVerdict(expression)


def _either(tokens: list[str]) -> tuple[bool, list[str]]:
    admitted, tokens = _both(tokens)
    while tokens and tokens[0].upper() == "OR":
        other, tokens = _both(tokens[1:])
        admitted = admitted or other
    return admitted, tokens


def _both(tokens: list[str]) -> tuple[bool, list[str]]:
    admitted, tokens = _one(tokens)
    while tokens and tokens[0].upper() == "AND":
        other, tokens = _one(tokens[1:])
        admitted = admitted and other
    return admitted, tokens


def _one(tokens: list[str]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        admitted, tokens = _either(tokens[1:])
        if tokens[0] != ")":
            raise IndexError
        return admitted, tokens[1:]
    admitted, tokens = tokens[0] in ADMITTED, tokens[1:]
    if tokens and tokens[0].upper() == "WITH":
        admitted = admitted and tokens[1] in _EXCEPTIONS
        tokens = tokens[2:]
    return admitted, tokens


def _field_licence(field: str) -> str:
    if field in ADMITTED:
        return field
    # A whole licence text says its name in the first line, if anywhere.
    words = " ".join(field.lower().splitlines()[0].split()) if field else ""
    return next((spdx for pattern, spdx in _FIELD if re.fullmatch(pattern, words)), "")


def _classifier_licence(classifiers: list[str]) -> str:
    names = [c.rsplit(" :: ", 1)[-1] for c in classifiers]
    known = sorted({_CLASSIFIERS[name] for name in names if name in _CLASSIFIERS})
    return " OR ".join(known)
