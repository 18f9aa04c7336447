"""Builds the corpus: permissively licensed packages in, deduplicated text and a manifest out.

Invariant: no held-out package, no copy of one and no near copy of one of its files is on the training side.

Written under OUT: `text/train/NAME.jsonl` and `text/heldout/NAME.jsonl` (rows of path, text, kind) and
`manifest.json` (one row a package). Packages already in the archives folder are not downloaded.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from deltaloom_model.training.archives import (
    CorpusError,
    Package,
    download,
    find_archive,
    read_archive,
    read_standard_library,
)
from deltaloom_model.training.licences import judge
from deltaloom_model.training.near_duplicates import (
    NearDuplicateIndex,
    Shingles,
    TokenHashes,
    contained_share,
    shingles,
    union,
)
from deltaloom_model.training.source_filter import is_test, kind_of, refuse

HELD_OUT = ("requests", "click", "jinja2", "rich", "attrs", "httpx", "tornado", "marshmallow")
"""Fixed before any training: these are only ever measured on."""

FORKS_OF_HELD_OUT = frozenset({"httpx2", "rich-rst"})
"""Packages that carry a held-out package's code under another name: never trained on either."""

_COPY_SHARE = 0.35
"""A training file with at least this share of its 5-grams in a held-out package is taken for a copy."""
_TEST_SHARE = 0.25
_DEFAULT_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    """One line of the package list: `name==version [max_mb=N]`; `max_bytes` bounds the text taken."""

    name: str
    version: str
    max_bytes: int = _DEFAULT_BYTES


class SourceFile(msgspec.Struct, frozen=True):
    """One file of a package: a row of the corpus's JSON lines."""

    path: str
    text: str
    kind: str


class ManifestRow(msgspec.Struct, omit_defaults=True):
    """What was taken from one package, or why nothing was. `dropped` counts files by reason."""

    package: str
    version: str
    side: str
    licence: str = ""
    refused: str = ""
    sha256: str = ""
    files: int = 0
    bytes: int = 0
    python_bytes: int = 0
    test_bytes: int = 0
    dropped: dict[str, int] = {}


@dataclass(slots=True)
class Deduplicator:
    """Everything kept so far, across packages, and what the held-out side holds."""

    hashes: TokenHashes = field(default_factory=TokenHashes)
    exact: set[bytes] = field(default_factory=set)
    near: NearDuplicateIndex = field(default_factory=NearDuplicateIndex)
    held_out: list[Shingles] = field(default_factory=list)
    held_out_union: Shingles | None = None

    def reason(self, text: str, held_out: bool) -> str:
        """ "" for a text to keep (it is then remembered), else why it is dropped."""
        digest = hashlib.sha256(text.encode()).digest()
        if digest in self.exact:
            return "duplicate"
        grams = shingles(text, self.hashes)
        if held_out:
            self.held_out.append(grams)
        else:
            if self.held_out_union is None:
                self.held_out_union = union(self.held_out)
            if contained_share(grams, self.held_out_union) >= _COPY_SHARE:
                return "held-out copy"
        if self.near.add(grams):
            return "near duplicate"
        self.exact.add(digest)
        return ""


def read_package_list(path: Path) -> list[PinnedPackage]:
    """`name==version [max_mb=N]` a line, `#` starts a comment. Raises `CorpusError`."""
    packages = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, separator, version = words[0].partition("==")
        options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        if not separator or set(options) - {"max_mb"}:
            raise CorpusError(f"The package list's line {line!r} is not understood; write name==version.")
        limit = int(float(options["max_mb"]) * 1e6) if "max_mb" in options else _DEFAULT_BYTES
        packages.append(PinnedPackage(name.lower(), version, limit))
    return packages


def build(
    out: Path, pinned: list[PinnedPackage], archives: Path, standard_library: bool = True
) -> list[ManifestRow]:
    """Write the corpus under `out`; returns the manifest. Held-out packages are read first."""
    known = Deduplicator()
    order = sorted(pinned, key=lambda p: (p.name not in HELD_OUT, p.name))
    rows = [_add_package(out, _obtain(package, archives), package.max_bytes, known) for package in order]
    if standard_library:
        rows.append(_add_package(out, read_standard_library(), 4 * _DEFAULT_BYTES, known))
    out.mkdir(parents=True, exist_ok=True)
    lines = b",\n".join(msgspec.json.encode(row) for row in rows)
    (out / "manifest.json").write_bytes(b"[\n" + lines + b"\n]\n")
    return rows


def read_side(out: Path, side: str) -> list[tuple[str, list[SourceFile]]]:
    """(package, files) of one side (`train` or `heldout`), sorted by name."""
    decoder = msgspec.json.Decoder(SourceFile)
    return [
        (path.stem, [decoder.decode(line) for line in path.read_bytes().splitlines()])
        for path in sorted((out / "text" / side).glob("*.jsonl"))
    ]


def _obtain(package: PinnedPackage, archives: Path) -> Package:
    path = find_archive(package.name, package.version, archives)
    return read_archive(
        path or download(package.name, package.version, archives), package.name, package.version
    )


def _add_package(out: Path, package: Package, max_bytes: int, known: Deduplicator) -> ManifestRow:
    held_out = package.name in HELD_OUT
    row = ManifestRow(
        package.name, package.version, "heldout" if held_out else "train", sha256=package.sha256
    )
    verdict = judge(package.metadata)
    row.licence, row.refused = verdict.spdx, verdict.reason
    if package.name in FORKS_OF_HELD_OUT:
        row.refused = "carries a held-out package's code"
    kept = [] if row.refused else _choose(package, max_bytes, known, row)
    if kept:
        folder = out / "text" / row.side
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{package.name}.jsonl").write_bytes(b"".join(msgspec.json.encode(f) + b"\n" for f in kept))
    return row


def _choose(package: Package, max_bytes: int, known: Deduplicator, row: ManifestRow) -> list[SourceFile]:
    """Folder by folder in an order fixed by a hash, so that files which belong together stay together."""
    dropped: Counter[str] = Counter()
    kept: list[SourceFile] = []
    python_total = sum(
        len(data) for path, data in package.files if kind_of(path) == "python" and not is_test(path)
    )
    test_limit = _TEST_SHARE * min(max_bytes, python_total)
    for path, data in sorted(package.files, key=lambda f: (_folder_rank(package.name, f[0]), f[0])):
        text, reason = refuse(path, data)
        size = len(text.encode())
        if not reason and row.bytes + size > max_bytes:
            reason = "package limit"
        if not reason and is_test(path) and row.test_bytes + size > test_limit:
            reason = "test limit"
        reason = reason or known.reason(text, row.side == "heldout")
        if reason:
            dropped[reason] += 1
            continue
        kind = kind_of(path) or "other"
        kept.append(SourceFile(path, text, kind))
        row.files += 1
        row.bytes += size
        row.python_bytes += size if kind == "python" else 0
        row.test_bytes += size if is_test(path) else 0
    row.dropped = dict(sorted(dropped.items()))
    return sorted(kept, key=lambda f: f.path)


def _folder_rank(package: str, path: str) -> tuple[bool, bytes]:
    folder = str(PurePosixPath(path).parent)
    return is_test(path), hashlib.sha256(f"{package}/{folder}".encode()).digest()


def main(arguments: list[str] | None = None) -> int:
    """`python -m deltaloom_model.training.corpus --out DIR [--packages FILE] [--archives DIR]`."""
    parser = argparse.ArgumentParser(
        description="Build nano's training corpus from permissively licensed packages."
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--packages", type=Path, default=Path(__file__).with_name("packages.txt"))
    parser.add_argument(
        "--archives", type=Path, help="a folder of wheels at hand; others are downloaded into it"
    )
    options: Any = parser.parse_args(arguments)
    try:
        rows = build(
            options.out, read_package_list(options.packages), options.archives or options.out / "archives"
        )
    except (CorpusError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    train = [row for row in rows if row.side == "train"]
    print(
        f"{sum(r.files for r in train)} files, {sum(r.bytes for r in train) / 1e6:.1f} MB to train on "
        f"({sum(r.python_bytes for r in train) / max(1, sum(r.bytes for r in train)):.0%} Python); "
        f"{sum(bool(r.refused) for r in rows)} packages refused"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
