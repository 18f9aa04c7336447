"""Text to token ids and back, one segment at a time.

Invariant: every way to encode a text (whole, from the cache, or from an earlier version of it) gives the
same ids, those of encoding the whole text alone; no text, whatever it says, encodes to a special token.

Offsets are counted in the document's characters as the tokenizer reports them, never in decoded text: a
normalizer may change what decodes. Torch-free.
"""

from __future__ import annotations

import codecs
import re
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.token_sequence import TokenIds

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_FILE_BYTES = 64 << 20
_MAX_NEAR = 64
_PROBE_HEADS = ("\n", "a\n\n", "a):\n", "a \n \n", "\r\n\r\n", "\t\n", "1\n\n\n")
_PROBE_TAILS = ("b", "(", "1", "\u00e9", "\u0301", "'s", "#\n")


@dataclass(frozen=True, slots=True, eq=False)
class EncodedText:
    """A text with its ids, and `starts` (int32 [n]): the character of `text` at which each token begins."""

    text: str
    ids: TokenIds
    starts: TokenIds

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes (a str takes 1, 2 or 4 bytes a character; 2 is assumed)."""
        return 2 * len(self.text) + self.ids.nbytes + self.starts.nbytes


class SegmentTokenizer:
    """A byte-level BPE tokenizer for segments, with a cache bounded by `cache_bytes`."""

    def __init__(self, tokenizer_json: bytes, cache_bytes: int = 256 << 20) -> None:
        """`tokenizer_json` is a `tokenizer.json`'s content. Raises `ModelLoadError` if it can't serve."""
        spec = _parse(tokenizer_json)
        added: list[dict[str, Any]] = spec.get("added_tokens") or []
        self._silent = {t["id"] for t in added if t.get("special") or _is_marker(t["content"])}
        self._added = {t["id"]: str(t["content"]) for t in added}
        # Qwen marks <|fim_prefix|> and its like as not special, and only special tokens can be kept from
        # being found in source text: all added tokens are made special here.
        for token in added:
            token["special"] = True
        try:
            self._tokenizer = Tokenizer.from_str(msgspec.json.encode(spec).decode())
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelLoadError(f"tokenizer.json can't be read ({error}); take the file again.") from error
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._cache: OrderedDict[str, EncodedText] = OrderedDict()
        self._cache_bytes = cache_bytes
        self._held_bytes = 0
        self._near: OrderedDict[str, EncodedText] = OrderedDict()
        self._cuts_are_safe = self._probe_safe_cuts()

    @classmethod
    def from_file(cls, path: Path, cache_bytes: int = 256 << 20) -> SegmentTokenizer:
        """Read a `tokenizer.json`. Raises `ModelLoadError` when it is missing, too large or no BPE."""
        try:
            size = path.stat().st_size
            if size > _MAX_FILE_BYTES:
                raise ModelLoadError(f"{path} is {size} bytes long, too long for a tokenizer; take it again.")
            return cls(path.read_bytes(), cache_bytes)
        except OSError as error:
            raise ModelLoadError(f"{path} can't be read ({error.strerror}); take the file again.") from error

    @property
    def size(self) -> int:
        """One more than the largest id (special tokens included)."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def special_id(self, name: str) -> int | None:
        """The id of the special token written `name` (such as `<|fim_middle|>`), or None without one."""
        return next((i for i, content in self._added.items() if content == name), None)

    def encode(self, text: str) -> TokenIds:
        """`text` alone to ids, int32 [n]. Special tokens written in it are plain text; nothing is added."""
        encoding = self._tokenizer.encode(_without_surrogates(text), add_special_tokens=False)
        return np.asarray(encoding.ids, dtype=np.int32)

    def encode_document(self, text: str) -> EncodedText:
        """`text` alone to ids and the character each begins at."""
        encoding = self._tokenizer.encode(_without_surrogates(text), add_special_tokens=False)
        starts = np.fromiter((offset[0] for offset in encoding.offsets), np.int32, len(encoding.offsets))
        return EncodedText(text, np.asarray(encoding.ids, dtype=np.int32), starts)

    def encode_edited(self, old: EncodedText, new_text: str) -> EncodedText:
        """`new_text` to ids, re-encoding only between the safe cuts around where it differs from `old`.

        Equal to `encode_document(new_text)`.
        """
        if not self._cuts_are_safe:
            return self.encode_document(new_text)
        head, old_tail, new_tail = _edited_range(old.text, new_text)
        if head == 0 and old_tail == len(old.text):
            return self.encode_document(new_text)
        first, last = np.searchsorted(old.starts, (head, old_tail))
        middle = self.encode_document(new_text[head:new_tail])
        ids = np.concatenate((old.ids[:first], middle.ids, old.ids[last:]))
        moved = old.starts[last:] + np.int32(new_tail - old_tail)
        starts = np.concatenate((old.starts[:first], middle.starts + np.int32(head), moved))
        return EncodedText(new_text, ids, starts)

    def encode_near(self, key: str, text: str) -> EncodedText:
        """Encode `text`, starting from the text last encoded under `key` (an open file, say)."""
        old = self._near.pop(key, None)
        encoded = old if old is not None and old.text == text else None
        if encoded is None:
            encoded = self.encode_document(text) if old is None else self.encode_edited(old, text)
        self._near[key] = encoded
        if len(self._near) > _MAX_NEAR:
            self._near.popitem(last=False)
        return encoded

    def cached(self, digest: str) -> TokenIds | None:
        """The ids of the text with this content digest, if they are still held."""
        found = self._cache.get(digest)
        if found is None:
            return None
        self._cache.move_to_end(digest)
        return found.ids

    def encode_segment(self, path: str, digest: str, text: str) -> TokenIds:
        """The ids of a segment's text (without header), kept under its content digest.

        `path` only helps to find an earlier version of the text to start from.
        """
        held = self.cached(digest)
        if held is not None:
            return held
        encoded = self.encode_near("segment:" + path, text)
        self._cache[digest] = encoded
        self._held_bytes += encoded.nbytes
        while self._held_bytes > self._cache_bytes and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._held_bytes -= dropped.nbytes
        return encoded.ids

    def forget(self, paths: Collection[str], digests: Collection[str]) -> None:
        """Hold nothing more of these files: neither texts by digest nor open documents by their key's end."""
        for digest in digests:
            if (dropped := self._cache.pop(digest, None)) is not None:
                self._held_bytes -= dropped.nbytes
        for key in [key for key in self._near if any(key.endswith(f":{path}") for path in paths)]:
            del self._near[key]

    def _probe_safe_cuts(self) -> bool:
        """Does this tokenizer's pattern treat a newline before a non-space as a boundary?"""
        return all(
            np.array_equal(self.encode(head + tail), np.concatenate((self.encode(head), self.encode(tail))))
            for head in _PROBE_HEADS
            for tail in _PROBE_TAILS
        )

    def bytes_of(self, token: int) -> bytes:
        """The UTF-8 bytes a token stands for, possibly part of a character; b"" for special tokens."""
        if token in self._silent:
            return b""
        if token in self._added:
            return self._added[token].encode()
        written = self._tokenizer.id_to_token(token)
        return b"" if written is None else bytes(_BYTE_OF[character] for character in written)

    def decode(self, ids: TokenIds | list[int]) -> str:
        """The text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self.bytes_of(int(token)) for token in ids).decode("utf-8", "replace")

    def detokenizer(self) -> Detokenizer:
        """A fresh incremental decoder for one answer."""
        return Detokenizer(self)


class Detokenizer:
    """Turns produced tokens into text as they come, never handing out part of a character."""

    def __init__(self, tokenizer: SegmentTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes; "" while a character is still open."""
        return self._decoder.decode(self._tokenizer.bytes_of(token))

    def bytes_of(self, token: int) -> bytes:
        """See `SegmentTokenizer.bytes_of`."""
        return self._tokenizer.bytes_of(token)

    @property
    def pending(self) -> bool:
        """Is part of a character held back? An answer that ends so loses those bytes."""
        return bool(self._decoder.getstate()[0])


def is_safe_cut(text: str, position: int) -> bool:
    """May `text` be encoded as two halves at `position`, with the ids of the whole?

    True after a newline that a non-space follows: no pre-token of Qwen's pattern spans such a place, whatever
    stands on either side (GPT-2's pattern looks ahead across it, which is why tokenizers are probed).
    """
    return 0 < position < len(text) and text[position - 1] == "\n" and not text[position].isspace()


def _edited_range(old: str, new: str) -> tuple[int, int, int]:
    """(head, old_tail, new_tail): old[head:old_tail] became new[head:new_tail], widened to safe cuts.

        head          old_tail
    ====|---- changed ---|==========   old   (= equal in both)
    ====|------ changed -----|======   new
        head              new_tail
    """
    length = min(len(old), len(new))
    head = _common_prefix(old, new, length)
    # Both characters around a cut must be equal in both texts, hence the strict bounds.
    head -= 1
    while head > 0 and not is_safe_cut(new, head):
        head = new.rfind("\n", 0, head - 1) + 1
    head = max(head, 0)
    tail = _common_suffix(old, new, length - head)
    position = len(new) - tail + 1
    while position < len(new) and not is_safe_cut(new, position):
        newline = new.find("\n", position)
        position = len(new) if newline < 0 else newline + 1
    position = min(position, len(new))
    return head, len(old) - (len(new) - position), position


def _common_prefix(a: str, b: str, most: int) -> int:
    """Length of the common prefix, at most `most`, by halving slices (each character compared O(1) times)."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _common_suffix(a: str, b: str, most: int) -> int:
    """Length of the common suffix, at most `most`."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if a[len(a) - middle : len(a) - low] == b[len(b) - middle : len(b) - low]:
            low = middle
        else:
            high = middle - 1
    return low


def _without_surrogates(text: str) -> str:
    """Lone surrogates, which no UTF-8 can hold, one for one as U+FFFD, so that offsets stay."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)


def _is_marker(content: str) -> bool:
    return content.startswith("<|") and content.endswith("|>")


def _parse(tokenizer_json: bytes) -> dict[str, Any]:
    try:
        spec = msgspec.json.decode(tokenizer_json)
    except msgspec.DecodeError as error:
        raise ModelLoadError(f"tokenizer.json is damaged ({error}); take the file again.") from error
    model = spec.get("model") if isinstance(spec, dict) else None
    if not isinstance(model, dict) or model.get("type") != "BPE" or not _has_byte_level(spec.get("decoder")):
        raise ModelLoadError("tokenizer.json is no byte-level BPE; choose a model with one.")
    if not set(_BYTE_OF) <= set(model["vocab"]) or not set("".join(model["vocab"])) <= set(_BYTE_OF):
        raise ModelLoadError("tokenizer.json's vocabulary doesn't cover all bytes; choose another model.")
    assert isinstance(spec, dict)
    return spec


def _has_byte_level(decoder: object) -> bool:
    if not isinstance(decoder, dict):
        return False
    nested = decoder.get("decoders") or []
    return decoder.get("type") == "ByteLevel" or any(_has_byte_level(d) for d in nested)


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level BPE's vocabulary (GPT-2's table).

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for U+0100 onwards.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in sorted(printable)} | {chr(0x100 + i): b for i, b in enumerate(others)}


_BYTE_OF = _byte_alphabet()
