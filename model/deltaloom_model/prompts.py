"""How a context is written for the model: repository header, segments, tombstones, the open file's FIM part.

Invariant: every part is tokenized alone and joined by ids, and the start of the bounded prefix depends only
on how many tokens stand before the cursor's line, in large steps: a keystroke never moves it, and a new line
only where a step is crossed.

The format is Qwen's repository-level one (Qwen2.5-Coder technical report, section 3.2.2, arXiv 2409.12186);
the order of the fill-in-the-middle parts is a property of the model (SPM as in "Efficient Training of
Language Models to Fill in the Middle", arXiv 2207.14255, appendix D, variant 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import FimOrder
from deltaloom_model.token_sequence import TokenIds
from deltaloom_model.tokenizer import EncodedText, SegmentTokenizer

TOMBSTONE_TEXT = "# deleted\n"
"""What stands as the text of a file that is gone."""

STOP_TOKENS = (
    "<|endoftext|>",
    "<|im_end|>",
    "<|file_sep|>",
    "<|repo_name|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
)

# More characters of the suffix than this are never tokenized, per token wanted.
_SUFFIX_CHARACTERS_PER_TOKEN = 16
_PREFIX_STEPS = 4
_PREFIX_CHARACTERS = 1 << 20
_LINE_CHARACTERS = 4096
_LINE_STEP = 1024


@dataclass(frozen=True, slots=True, eq=False)
class AnchorPrompt:
    """The open file in FIM form, up to where `typed` is fed.

    `ids` int32 [n]; P stands at ids[prefix[0]:prefix[1]], S at ids[suffix[0]:suffix[1]], and the middle
    begins at n. `prefix_cut` tokens and `suffix_cut` characters of the file were left out at its two ends.
    """

    ids: TokenIds
    prefix: tuple[int, int]
    suffix: tuple[int, int]
    prefix_cut: int = 0
    suffix_cut: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PromptFormat:
    """One model's way to write a context. Make it with `for_model`."""

    tokenizer: SegmentTokenizer
    fim_order: FimOrder
    repo_name: int
    file_sep: int
    fim_prefix: int
    fim_suffix: int
    fim_middle: int
    stop_ids: frozenset[int]

    @classmethod
    def for_model(
        cls, tokenizer: SegmentTokenizer, fim_order: FimOrder, eos_ids: Iterable[int] = ()
    ) -> PromptFormat:
        """The format of a model with this tokenizer. Raises `ModelLoadError` if a FIM token is missing."""

        def required(name: str) -> int:
            token = tokenizer.special_id(name)
            if token is None:
                raise ModelLoadError(
                    f"The tokenizer has no {name} token; choose a model that can fill in the middle."
                )
            return token

        stops = {tokenizer.special_id(name) for name in STOP_TOKENS} | set(eos_ids)
        return cls(
            tokenizer,
            fim_order,
            repo_name=required("<|repo_name|>"),
            file_sep=required("<|file_sep|>"),
            fim_prefix=required("<|fim_prefix|>"),
            fim_suffix=required("<|fim_suffix|>"),
            fim_middle=required("<|fim_middle|>"),
            stop_ids=frozenset(stop for stop in stops if stop is not None),
        )

    def repository_header(self, name: str) -> TokenIds:
        """`<|repo_name|>name\\n`: what every context begins with."""
        return self._joined(self.repo_name, self.tokenizer.encode(one_line(name) + "\n"))

    def segment_header(self, path: str) -> TokenIds:
        """`<|file_sep|>path\\n`."""
        return self._joined(self.file_sep, self.tokenizer.encode(one_line(path) + "\n"))

    def segment(self, path: str, text_ids: TokenIds) -> TokenIds:
        """A file as it stands in base or log: its header, then its text's ids."""
        return np.concatenate((self.segment_header(path), text_ids))

    def tombstone(self, path: str) -> TokenIds:
        """What says that `path` is gone."""
        return self.segment(path, self.tokenizer.encode(TOMBSTONE_TEXT))

    def anchor(
        self,
        path: str,
        prefix: str,
        suffix: str,
        *,
        prefix_tokens: int = 2048,
        suffix_tokens: int = 256,
        key: str | None = None,
    ) -> AnchorPrompt:
        """The open file at a cursor, ready for `typed`.

        `prefix` is the text up to the start of the cursor's line, `suffix` the text from the cursor on; at
        most the last `prefix_tokens` and the first `suffix_tokens` are kept. `key` names the open document,
        so that its next version is encoded from this one (default: its path).

            PSM   <|file_sep|>path\\n <|fim_prefix|> P <|fim_suffix|> S <|fim_middle|>
            SPM   <|file_sep|>path\\n <|fim_prefix|> <|fim_suffix|> S <|fim_middle|> P
        """
        encoded = self.tokenizer.encode_near("prefix:" + (path if key is None else key), prefix)
        prefix_cut = prefix_start(encoded, prefix_tokens)
        before = encoded.ids[prefix_cut:]
        after, suffix_cut = self.bounded_suffix(suffix, suffix_tokens)
        header = self.segment_header(path)
        if self.fim_order == "psm":
            ids = self._joined(header, self.fim_prefix, before, self.fim_suffix, after, self.fim_middle)
            start = len(header) + 1
            suffix_at = start + len(before) + 1
        else:
            ids = self._joined(header, self.fim_prefix, self.fim_suffix, after, self.fim_middle, before)
            suffix_at = len(header) + 2
            start = suffix_at + len(after) + 1
        return AnchorPrompt(
            ids, (start, start + len(before)), (suffix_at, suffix_at + len(after)), prefix_cut, suffix_cut
        )

    def typed(self, text: str) -> TokenIds:
        """The cursor's line up to the cursor: the forced start of the middle, tokenized alone."""
        return self.tokenizer.encode(text)

    def bounded_suffix(self, suffix: str, most: int) -> tuple[TokenIds, int]:
        """The first `most` tokens of the suffix, ending after a newline where one is near, and what is left.

        Only a bounded part is tokenized, so a long file costs what a short one does.
        """
        head = suffix[: most * _SUFFIX_CHARACTERS_PER_TOKEN]
        encoded = self.tokenizer.encode_document(head)
        if len(encoded.ids) <= most and len(head) == len(suffix):
            return encoded.ids, 0
        count = min(most, len(encoded.ids))
        starts = np.append(encoded.starts, len(head))
        # The last token that begins a line, looked for in the second half only.
        for cut in range(count, most // 2, -1):
            if starts[cut] > 0 and head[starts[cut] - 1] == "\n":
                return encoded.ids[:cut], len(suffix) - int(starts[cut])
        while count > 0 and starts[count] == starts[count - 1]:  # never part of a character
            count -= 1
        return encoded.ids[:count], len(suffix) - int(starts[count])

    def _joined(self, *parts: int | TokenIds) -> TokenIds:
        whole = [np.array([part], np.int32) if isinstance(part, int) else part for part in parts]
        return np.concatenate(whole)


def prefix_start(encoded: EncodedText, most: int) -> int:
    """The first token of `encoded` to keep, so that at most `most` are kept and the cut rarely moves.

    The least multiple of most/4 that fits, moved on to the next line's start within one such step; so
    between half of `most` and `most` tokens are kept, and tokens added at the end move the cut only once per
    most/4 of them.
    """
    total = len(encoded.ids)
    if total <= most:
        return 0
    step = max(most // _PREFIX_STEPS, 1)
    first = -(-(total - most) // step) * step
    for cut in range(first, min(first + step, total)):
        if encoded.text[encoded.starts[cut] - 1] == "\n":
            return cut
    while first < total and encoded.starts[first] == encoded.starts[first - 1]:  # never part of a character
        first += 1
    return first


def bounded_prefix(prefix: str) -> str:
    """At most about the last 2 MiB of a huge file's prefix, cut at a line start that moves in 1 MiB steps."""
    cut = (len(prefix) // _PREFIX_CHARACTERS - 1) * _PREFIX_CHARACTERS
    if cut <= 0:
        return prefix
    return prefix[prefix.find("\n", cut) + 1 :]


def bounded_line(typed: str) -> str:
    """At most the last 4,096 characters of a huge line; the cut moves in steps of 1,024, not at every
    keystroke, which would have all that comes after it read again."""
    cut = len(typed) - _LINE_CHARACTERS
    return typed if cut <= 0 else typed[-(-cut // _LINE_STEP) * _LINE_STEP :]


def one_line(name: str) -> str:
    """A path or name with control characters and line separators written as escapes."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() or c == " " else ascii(c)[1:-1] for c in name)
