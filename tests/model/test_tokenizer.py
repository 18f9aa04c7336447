"""SegmentTokenizer: every way to encode gives the whole text's ids, and no text gives a special token."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from deltaloom_model.api import text_digest
from deltaloom_model.errors import ModelLoadError
from deltaloom_model.tokenizer import EncodedText, SegmentTokenizer, is_safe_cut

SOURCE = Path(__file__).read_text(encoding="utf-8")
MARKERS = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|repo_name|>", "<|file_sep|>")
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Pieces that stress pre-token boundaries: blank lines, CR, form feeds, indentation, combining marks,
# astral characters, lone surrogates, and special tokens as text.
PIECES = st.sampled_from(
    ["\n", "\n\n", "\r\n", "\r", " ", "    ", "\t", "\f", "\u2028", "\x85", "\x1c", "\u00a0",
     "x", "self.", "def f():", "'s",
     "e\u0301", "\u0301", "é", "日本", "\U0001f600", "\ud800", "123", "#", "<|fim_middle|>", "<|endoftext|>"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@given(before=TEXTS, old=TEXTS, new=TEXTS, after=TEXTS)
@settings(max_examples=400, deadline=None)
def test_encoding_an_edit_equals_encoding_the_whole(
    tokenizer: SegmentTokenizer, before: str, old: str, new: str, after: str
) -> None:
    start = tokenizer.encode_document(before + old + after)
    edited = tokenizer.encode_edited(start, before + new + after)
    whole = tokenizer.encode_document(before + new + after)
    np.testing.assert_array_equal(edited.ids, whole.ids)
    np.testing.assert_array_equal(edited.starts, whole.starts)


@given(position=st.integers(0, len(SOURCE)), removed=st.integers(0, 200), added=TEXTS)
@settings(max_examples=200, deadline=None)
def test_editing_real_source_equals_encoding_the_whole(
    tokenizer: SegmentTokenizer, position: int, removed: int, added: str
) -> None:
    edited_text = SOURCE[:position] + added + SOURCE[position + removed :]
    edited = tokenizer.encode_edited(tokenizer.encode_document(SOURCE), edited_text)
    np.testing.assert_array_equal(edited.ids, tokenizer.encode(edited_text))


def test_an_edit_re_encodes_only_its_surroundings(
    tokenizer: SegmentTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SOURCE * 8
    start = tokenizer.encode_document(text)
    encode_document, encoded = tokenizer.encode_document, []

    def counting(part: str) -> EncodedText:
        encoded.append(len(part))
        return encode_document(part)

    monkeypatch.setattr(tokenizer, "encode_document", counting)
    middle = len(text) // 2
    tokenizer.encode_edited(start, text[:middle] + "q" + text[middle:])
    assert len(encoded) == 1
    assert encoded[0] < 2000


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_safe_cuts_never_change_the_ids(tokenizer: SegmentTokenizer, head: str, tail: str) -> None:
    text = head + "\n" + tail
    if is_safe_cut(text, len(head) + 1):
        parts = [tokenizer.encode(head + "\n"), tokenizer.encode(tail)]
        np.testing.assert_array_equal(np.concatenate(parts), tokenizer.encode(text))


def test_a_pattern_that_looks_across_newlines_is_encoded_whole(tokenizer_json: bytes) -> None:
    spec = json.loads(tokenizer_json)
    spec["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": GPT2_PATTERN}
    tokenizer = SegmentTokenizer(json.dumps(spec).encode())
    text = "a = 1\n\n\nb = 2\n\n\nc = 3\n"
    edited = tokenizer.encode_edited(tokenizer.encode_document(text), text.replace("b", "bb"))
    np.testing.assert_array_equal(edited.ids, tokenizer.encode(text.replace("b", "bb")))


def test_special_tokens_in_source_are_plain_text(tokenizer: SegmentTokenizer, tokenizer_json: bytes) -> None:
    reference = Tokenizer.from_str(tokenizer_json.decode())
    for name in (*MARKERS, "<|endoftext|>", "<|im_end|>"):
        special = tokenizer.special_id(name)
        assert special is not None
        assert reference.encode(f"x = '{name}'").ids.count(special) == 1, "the danger this test is about"
        ids = tokenizer.encode(f"x = '{name}'")
        assert special not in ids
        assert tokenizer.decode(ids) == f"x = '{name}'"
    assert tokenizer.special_id("<|nothing|>") is None


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_decodes_to_its_normal_form(tokenizer: SegmentTokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


def test_lone_surrogates_become_replacement_characters(tokenizer: SegmentTokenizer) -> None:
    encoded = tokenizer.encode_document("a\ud83db\n\udc00c")
    assert tokenizer.decode(encoded.ids) == "a\ufffdb\n\ufffdc"
    assert encoded.starts[-1] == 5


def test_offsets_count_the_documents_characters_where_normalization_changes_them(
    tokenizer: SegmentTokenizer,
) -> None:
    encoded = tokenizer.encode_document("e\u0301\U0001f600\nx")
    assert tokenizer.decode(encoded.ids) == "é\U0001f600\nx"
    assert encoded.starts[-1] == 4


def test_detokenizer_never_gives_part_of_a_character(tokenizer: SegmentTokenizer) -> None:
    text = "naïve 日本語 \U0001f600 👩\u200d💻 end"
    stream = tokenizer.detokenizer()
    pieces = []
    for token in tokenizer.encode(text).tolist():
        piece = stream.push(token)
        assert "\ufffd" not in piece
        pieces.append(piece)
    assert len([p for p in pieces if not p]) > 5
    assert "".join(pieces) == text
    assert not stream.pending


def test_detokenizer_holds_back_an_open_character(tokenizer: SegmentTokenizer) -> None:
    stream = tokenizer.detokenizer()
    tokens = tokenizer.encode("\U0001f600").tolist()
    assert len(tokens) == 4
    assert [stream.push(t) for t in tokens[:3]] == ["", "", ""]
    assert stream.pending
    assert stream.push(tokens[3]) == "\U0001f600"


def test_special_tokens_have_no_text(tokenizer: SegmentTokenizer) -> None:
    for name in (*MARKERS, "<|endoftext|>"):
        token = tokenizer.special_id(name)
        assert token is not None
        assert tokenizer.bytes_of(token) == b""
    assert tokenizer.bytes_of(tokenizer.size + 5) == b""


def test_cache_is_bounded_in_bytes_and_drops_the_oldest(tokenizer_json: bytes) -> None:
    tokenizer = SegmentTokenizer(tokenizer_json, cache_bytes=40_000)
    texts = [f"value_{i} = {i}\n" * 200 for i in range(8)]
    digests = [text_digest(t) for t in texts]
    for i, (digest, text) in enumerate(zip(digests, texts, strict=True)):
        np.testing.assert_array_equal(
            tokenizer.encode_segment(f"{i}.py", digest, text), tokenizer.encode(text)
        )
        tokenizer.cached(digests[0])
    held = [tokenizer.cached(d) is not None for d in digests]
    assert held[0], "used in between, so not the oldest"
    assert held[-1]
    assert not all(held)


def test_a_new_version_of_a_segment_is_encoded_exactly(tokenizer: SegmentTokenizer) -> None:
    changed = SOURCE.replace("def test_special", "def  test_special", 1)
    tokenizer.encode_segment("t.py", text_digest(SOURCE), SOURCE)
    ids = tokenizer.encode_segment("t.py", text_digest(changed), changed)
    np.testing.assert_array_equal(ids, tokenizer.encode(changed))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "byte-level BPE"),
        (b'{"model": {"type": "Unigram"}}', "byte-level BPE"),
    ],
)
def test_a_foreign_tokenizer_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match=says):
        SegmentTokenizer.from_file(path)
    with pytest.raises(ModelLoadError, match="can't be read"):
        SegmentTokenizer.from_file(tmp_path / "missing.json")
