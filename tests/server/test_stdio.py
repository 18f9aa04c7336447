"""Frames are found however their bytes arrive, and whatever stands between them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaloom_server.stdio import MAX_BODY_BYTES, MAX_HEADER_BYTES, BrokenFrame, FrameParser


def _frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def _fed(chunks: Iterable[bytes]) -> list[bytes | BrokenFrame]:
    parser = FrameParser()
    return [found for chunk in chunks for found in parser.feed(chunk)]


def _bodies(chunks: Iterable[bytes]) -> list[bytes]:
    return [found for found in _fed(chunks) if isinstance(found, bytes)]


def _broken(chunks: Iterable[bytes]) -> list[BrokenFrame]:
    return [found for found in _fed(chunks) if isinstance(found, BrokenFrame)]


def _bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_frames_in_one_chunk_come_out_in_order() -> None:
    assert _fed([_frame(b"{}") + _frame(b"") + _frame(b"[1]")]) == [b"{}", b"", b"[1]"]


def test_a_frame_may_come_byte_by_byte() -> None:
    assert _fed(_bytewise(_frame(b"{\r\n\r\n}"))) == [b"{\r\n\r\n}"]


def test_an_unfinished_frame_gives_nothing_yet() -> None:
    assert _fed([_frame(b"{}")[:-1], b""]) == []


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Length: 2\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n",
        b"Content-Type: x\r\nContent-Length: 2\r\n\r\n",
        b"content-length:2\n\n",
        b"CONTENT-LENGTH: \t2 \r\n\r\n",
        b"\r\n\nContent-Length: 2\r\n\r\n",
    ],
)
def test_headers_are_read_leniently(header: bytes) -> None:
    assert _fed([header + b"{}"]) == [b"{}"]


@pytest.mark.parametrize("length", [b"", b"-1", b"two", b"2 bytes", b"12345678901"])
def test_a_frame_without_a_valid_length_is_reported_and_the_next_one_found(length: bytes) -> None:
    found = _fed([b"Content-Length: " + length + b"\r\n\r\n", _frame(b"{}")])
    assert found == ["A message has no valid Content-Length header.", b"{}"]
    assert isinstance(found[0], BrokenFrame)


def test_a_frame_too_long_is_reported_and_the_next_one_found() -> None:
    header = b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    assert _fed([header + _frame(b"{}")]) == ["A message is too long.", b"{}"]


def test_each_run_of_noise_is_reported_once() -> None:
    noise = b"warning\n!\n\n\n??\n"
    chunks = [noise + _frame(b"1") + noise + _frame(b"2")]
    assert _bodies(chunks) == [b"1", b"2"]
    assert len(_broken(chunks)) == 2


def test_a_frame_is_found_on_the_line_where_a_broken_body_ends() -> None:
    assert _bodies([b"Content-Length: x\r\n\r\n{broken}" + _frame(b"{}")]) == [b"{}"]


@pytest.mark.parametrize("step", [1000, MAX_HEADER_BYTES + 1, 1 << 20])
def test_an_endless_line_is_reported_once_and_the_frame_after_it_found(step: int) -> None:
    data = b"!" * (4 * MAX_HEADER_BYTES) + b"\n" + _frame(b"{}")
    chunks = [data[at : at + step] for at in range(0, len(data), step)]
    assert _bodies(chunks) == [b"{}"]
    assert len(_broken(chunks)) == 1


def test_a_header_split_at_the_end_of_an_endless_line_is_still_found() -> None:
    frame = _frame(b"{}")
    for split in range(len(frame)):
        assert _bodies([b"!" * MAX_HEADER_BYTES + b"!" + frame[:split], frame[split:]]) == [b"{}"]


_NOISE = st.one_of(st.binary(max_size=40), st.text(alphabet="ab: \r\n", max_size=40).map(str.encode))
_FRAMES = st.lists(st.tuples(_NOISE, st.binary(max_size=40)), max_size=5)


@given(frames=_FRAMES, data=st.data())
def test_any_chunks_with_noise_between_frames_give_the_same_bodies(
    frames: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(noise + _frame(body) for noise, body in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(chunks) == stream
    assert _bodies(chunks) == [body for _, body in frames]
    assert _fed(chunks) == _fed([stream]) == _fed(_bytewise(stream))


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_frames_without_noise_are_never_reported_broken(bodies: list[bytes]) -> None:
    assert _fed([b"".join(map(_frame, bodies))]) == bodies
