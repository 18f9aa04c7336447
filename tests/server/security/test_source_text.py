"""Reading files as scanners see them, and writing fixed ones back as they were encoded."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.security.source_text import SourceText, decode_source, read_source

_CODINGS = ["utf-8", "latin-1", "cp1252", "iso-8859-15", "shift_jis", "koi8-r"]


@given(st.sampled_from(_CODINGS), st.text(max_size=30), st.sampled_from(["\n", "\r\n"]))
def test_what_was_read_is_written_back_byte_for_byte(coding: str, text: str, end: str) -> None:
    whole = f"# -*- coding: {coding} -*-{end}{text}"
    data = whole.encode(coding, "replace").replace(b"\0", b"")
    source = decode_source(data)
    if isinstance(source, str):
        assert source.startswith("it isn't valid")
    else:
        assert source.encode(source.text) == data


@given(st.text(max_size=40).filter(lambda text: "\0" not in text))
def test_a_byte_order_mark_is_no_part_of_the_text_and_stays(text: str) -> None:
    data = codecs.BOM_UTF8 + text.encode("utf-8", "replace")
    for is_python in (True, False):
        source = decode_source(data, is_python=is_python)
        assert isinstance(source, SourceText)
        assert source.encode(source.text) == data
        assert source.text == data[3:].decode()


def test_only_python_files_say_their_encoding() -> None:
    data = b"# coding: latin-1\n\xe9\n"
    source = decode_source(data)
    assert isinstance(source, SourceText)
    assert source.text.endswith("é\n")
    assert decode_source(data, is_python=False) == "it isn't valid UTF-8"


@pytest.mark.parametrize(
    "data",
    [
        b"# coding: nonsense\n",
        b"# coding: rot13\nuryyb\n",
        b"# coding: hex\n41\n",
        b"# coding: zlib\nx\n",
        b"\xff\xfe\n",
        b"\0" * 10,
        b"\xef\xbb\xbf# coding: latin-1\n\xe9",
    ],
)
def test_what_can_not_be_read_is_told_as_part_of_a_sentence(data: bytes) -> None:
    told = decode_source(data)
    assert isinstance(told, str)
    assert told.startswith(("it ", "its "))
    assert not told.endswith(".")


def test_a_character_that_the_encoding_has_not_is_an_error() -> None:
    source = decode_source(b"# coding: latin-1\n")
    assert isinstance(source, SourceText)
    with pytest.raises(UnicodeEncodeError):
        source.encode("€")


def test_only_regular_files_within_the_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x" * 10)
    (tmp_path / "link.py").symlink_to(tmp_path / "a.py")
    (tmp_path / "loop.py").symlink_to(tmp_path / "loop.py")
    (tmp_path / "folder.py").mkdir()
    os.mkfifo(tmp_path / "pipe.py")
    assert read_source(str(tmp_path / "a.py"), 10) == SourceText("x" * 10, "utf-8")
    assert read_source(str(tmp_path / "a.py"), 9) == "the file is over 9 bytes"
    for name in ("link.py", "loop.py", "folder.py", "pipe.py", "missing.py"):
        assert isinstance(read_source(str(tmp_path / name), 10), str), name
