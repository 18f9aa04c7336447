"""Reading a file as scanners see it, and writing a fixed one back as it was encoded.

Invariant: only a regular file is read, through no symlink, within the limit; what `encode` gives decodes to
the text it was given, with the byte order mark and the encoding that the file had.
"""

from __future__ import annotations

import codecs
import io
import tokenize
from dataclasses import dataclass

from deltaloom_server.context.reading import read_bytes
from deltaloom_server.context.reasons import Reason
from deltaloom_server.positions import join_surrogates

_REASONS = {
    Reason.OVERSIZE: "the file is too large",
    Reason.SYMLINK: "it is a symbolic link",
    Reason.NOT_A_FILE: "it is not a regular file",
    Reason.UNREADABLE: "it can't be read",
}


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file's text; `encoding` is Python's name of what it was written in."""

    text: str
    encoding: str
    bom: bool = False

    def encode(self, text: str) -> bytes:
        """Another text in the same encoding. Raises UnicodeEncodeError where it can't say it."""
        data = text.encode(self.encoding)
        return codecs.BOM_UTF8 + data if self.bom else data


def read_source(absolute: str, max_bytes: int) -> SourceText | str:
    """The file's text, or why there is none, as part of a sentence. Blocking."""
    data = read_bytes(absolute, max_bytes)
    if isinstance(data, Reason):
        if data is Reason.OVERSIZE:
            return f"the file is over {max_bytes:,} bytes"
        return _REASONS.get(data, str(data.value))
    return decode_source(data, is_python=absolute.endswith((".py", ".pyi")))


def decode_source(data: bytes, *, is_python: bool = True) -> SourceText | str:
    """A file's bytes as text: in UTF-8, or in what a Python file says of itself (PEP 263)."""
    if b"\0" in data[:8192]:
        return "it is a binary file"
    bom = data.startswith(codecs.BOM_UTF8)
    encoding = "utf-8"
    if is_python and not bom:
        try:
            encoding = tokenize.detect_encoding(io.BytesIO(data[:4096]).readline)[0]
        except (SyntaxError, UnicodeDecodeError):
            return "its encoding line names no known encoding, or isn't true"
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return f"it isn't valid {encoding.upper()}"
    return SourceText(join_surrogates(text), encoding, bom)
