"""Writes training rows as a memory-mappable array, and the held-out data that a model is measured on.

Invariant: the same corpus, tokenizer, length and seed give the same bytes; held-out packages never reach
`tokens.npy`.

`OUT/tokens.npy` is uint16 [n, length + 1] in shuffled order; `OUT/facts.json` says what it holds. Padding is
`<|fim_pad|>`, which stands nowhere else.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from deltaloom_model.training import heldout
from deltaloom_model.training.corpus import SourceFile, read_side
from deltaloom_model.training.objectives import (
    END,
    SUFFIX_TOKENS,
    Document,
    FimOrder,
    Mixture,
    Special,
    Text,
    bounded,
    draw_split,
    fim_document,
    first_ids,
    head_of,
    related_files,
    repository_header,
    segment,
)
from deltaloom_model.training.packing import Tokens, pack, padding_share

_CHARACTERS_PER_TOKEN = 3.5
_BATCH = 1_000
_FIM_TOKENS_PER_DOCUMENT = 400
_MOST_FIM_PER_FILE = 16
_MOST_PREFIX_TOKENS = 2_048

Drawn = tuple[str, Document]
"""What kind a document is of (`plain`, `repository`, `psm`, `spm`), and the document."""


def load_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer that takes special tokens written in a text for plain text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


class DocumentEncoder:
    """Documents to ids, each part tokenized alone."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def special(self, name: str) -> int:
        """The id of a special token. Raises `KeyError` without one."""
        token = self._tokenizer.token_to_id(name)
        if token is None:
            raise KeyError(name)
        return int(token)

    def encode(self, documents: list[Document]) -> list[Tokens]:
        """One uint16 array a document."""
        texts = [part.text for document in documents for part in document if isinstance(part, Text)]
        encodings = iter(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        result = []
        for document in documents:
            ids: list[int] = []
            for part in document:
                if isinstance(part, Special):
                    ids.append(self.special(part.name))
                else:
                    ids.extend(self._bounded(part, next(encodings).ids))
            result.append(np.asarray(ids, np.uint16))
        return result

    def _bounded(self, part: Text, ids: list[int]) -> list[int]:
        if not part.max_tokens or len(ids) <= part.max_tokens:
            return ids
        # The fast batch gives no offsets; few parts are this long.
        offsets = self._tokenizer.encode(part.text, add_special_tokens=False).offsets
        return first_ids(ids, [start for start, _ in offsets], part.text, part.max_tokens)


@dataclass(slots=True)
class DocumentSource:
    """Draws documents from packages, file by file in a shuffled order, for rows of `length` tokens."""

    packages: list[tuple[str, list[SourceFile]]]
    length: int
    draw: random.Random
    mixture: Mixture = field(default_factory=Mixture)

    def documents(self) -> Iterator[Drawn]:
        """One pass over all files; a file that is a FIM target gives several documents."""
        places = [(package, files, file) for package, files in self.packages for file in files]
        self.draw.shuffle(places)
        for package, files, file in places:
            yield from self._of_file(package, files, file)

    def _of_file(self, package: str, files: list[SourceFile], file: SourceFile) -> Iterator[Drawn]:
        header = repository_header(package)
        if self.draw.random() < self.mixture.plain:
            yield "plain", (*header, *segment(file), END)
        elif self.draw.random() >= self.mixture.fim_of_targets:
            yield "repository", (*header, *self._context(file, files), *segment(file), END)
        else:
            count = round(len(file.text) / (_CHARACTERS_PER_TOKEN * _FIM_TOKENS_PER_DOCUMENT))
            for _ in range(min(max(count, 1), _MOST_FIM_PER_FILE)):
                yield from self._fim(header, files, file)

    def _fim(self, header: Document, files: list[SourceFile], file: SourceFile) -> Iterator[Drawn]:
        split = draw_split(file.text, self.draw, self.mixture)
        if split is None:
            return
        prefix = self._tokens_drawn(64, min(_MOST_PREFIX_TOKENS, int(0.35 * self.length)))
        suffix = self._tokens_drawn(8, SUFFIX_TOKENS)
        split = bounded(split, int(prefix * _CHARACTERS_PER_TOKEN), int(suffix * _CHARACTERS_PER_TOKEN))
        share = self.mixture.with_context if self.length < 4_096 else 0.8
        context = self._context(file, files) if self.draw.random() < share else ()
        order: FimOrder = "psm" if self.draw.random() < self.mixture.psm else "spm"
        yield order, (*header, *context, *fim_document(file.path, split, order))

    def _context(self, target: SourceFile, files: list[SourceFile]) -> Document:
        """The most related files that a drawn budget holds, the most related last; a long one's head."""
        least, most = (128, 0.4) if self.length < 4_096 else (512, 0.6)
        room = int(self._tokens_drawn(least, int(most * self.length)) * _CHARACTERS_PER_TOKEN)
        chosen: list[Document] = []
        for file in reversed(related_files(target, files, self.draw)):
            text = head_of(file.text, room)
            if room < 300 or not text:
                break
            chosen.append(segment(file, text))
            room -= len(text)
        return tuple(part for document in reversed(chosen) for part in document)

    def _tokens_drawn(self, least: int, most: int) -> int:
        """Log-uniform between two numbers of tokens."""
        return int(math.exp(self.draw.uniform(math.log(least), math.log(max(least + 1, most)))))


@dataclass(slots=True)
class Facts:
    """What a dataset holds: documents and tokens by kind, and FIM documents too long for a row."""

    documents: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    too_long: int = 0


def collect(source: DocumentSource, encoder: DocumentEncoder, max_tokens: int) -> tuple[list[Tokens], Facts]:
    """Documents until `max_tokens` are reached, or every file was drawn once (twice, three times, …)."""
    kept: list[Tokens] = []
    facts = Facts()
    while facts.tokens.total() < max_tokens:
        before = len(kept)
        batch: list[Drawn] = []
        for drawn in source.documents():
            batch.append(drawn)
            if len(batch) == _BATCH:
                _add(batch, encoder, source.length + 1, kept, facts)
                batch = []
                if facts.tokens.total() >= max_tokens:
                    return kept, facts
        _add(batch, encoder, source.length + 1, kept, facts)
        if len(kept) == before:
            break
    return kept, facts


def _add(batch: list[Drawn], encoder: DocumentEncoder, width: int, kept: list[Tokens], facts: Facts) -> None:
    for (kind, _), ids in zip(batch, encoder.encode([document for _, document in batch]), strict=True):
        # A FIM document that is cut in two would teach to fill a middle whose suffix was never seen.
        if kind in ("psm", "spm") and len(ids) > width:
            facts.too_long += 1
            continue
        kept.append(ids)
        facts.documents[kind] += 1
        facts.tokens[kind] += len(ids)


def build(
    corpus: Path, tokenizer: Path, length: int, out: Path, seed: int, max_tokens: int
) -> dict[str, Any]:
    """Write one dataset; returns its facts."""
    encoder = DocumentEncoder(load_tokenizer(tokenizer))
    source = DocumentSource(read_side(corpus, "train"), length, random.Random(seed))
    documents, facts = collect(source, encoder, max_tokens)
    pad = encoder.special("<|fim_pad|>")
    rows = pack(documents, length + 1, pad)
    np.random.default_rng(seed).shuffle(rows)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "tokens.npy", rows)
    report = {
        "rows": rows.shape[0],
        "length": length,
        "seed": seed,
        "tokens": int(rows.size),
        "padding": padding_share(rows, pad),
        "documents_by_kind": dict(facts.documents),
        "tokens_by_kind": dict(facts.tokens),
        "too_long": facts.too_long,
    }
    (out / "facts.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return report


def main(arguments: list[str] | None = None) -> int:
    """`python -m deltaloom_model.training.dataset --corpus DIR --tokenizer FILE --length L --out DIR …`."""
    parser = argparse.ArgumentParser(description="Write training rows, or (--held-out) the evaluation data.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json; not needed with --held-out")
    parser.add_argument("--length", type=int, default=2_048)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=30_000_000)
    parser.add_argument(
        "--held-out", action="store_true", help="write files.jsonl and fim-cases.jsonl instead"
    )
    options: Any = parser.parse_args(arguments)
    if options.held_out:
        print(heldout.write(read_side(options.corpus, "heldout"), options.out, options.seed))
        return 0
    if options.tokenizer is None:
        parser.error("--tokenizer is needed for training rows")
    report = build(
        options.corpus, options.tokenizer, options.length, options.out, options.seed, options.max_tokens
    )
    print(msgspec.json.encode(report).decode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
