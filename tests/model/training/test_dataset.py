"""From a corpus to training rows and held-out cases, with a real tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from deltaloom_model.prompts import PromptFormat
from deltaloom_model.tokenizer import SegmentTokenizer
from deltaloom_model.training import heldout
from deltaloom_model.training.bpe import SPECIAL_TOKENS, train_tokenizer
from deltaloom_model.training.corpus import PinnedPackage, SourceFile, build, read_side
from deltaloom_model.training.dataset import DocumentEncoder, main
from deltaloom_model.training.objectives import (
    Document,
    FimOrder,
    Mixture,
    Text,
    bounded,
    draw_split,
    fim_document,
    segment,
)

WriteWheel = Callable[..., Path]
ModuleText = Callable[..., str]


@pytest.fixture
def corpus(
    tmp_path: Path, archives: Path, write_wheel: WriteWheel, module_text: ModuleText, tokenizer: Tokenizer
) -> Path:
    out = tmp_path / "corpus"
    write_wheel("click", {f"click/{k}.py": module_text(50 + k) for k in range(4)})
    write_wheel("one", {f"one/{k}.py": module_text(k, functions=4 + 3 * k) for k in range(8)})
    write_wheel("two", {f"two/{k}.py": module_text(20 + k) for k in range(8)})
    build(out, [PinnedPackage(n, "1.0") for n in ("click", "one", "two")], archives, standard_library=False)
    tokenizer.save(str(out / "tokenizer.json"))
    return out


def rows_of(corpus: Path, out: Path, seed: int, tokens: int = 30_000) -> np.ndarray:
    arguments = ["--corpus", str(corpus), "--tokenizer", str(corpus / "tokenizer.json"), "--out", str(out)]
    assert main([*arguments, "--length", "256", "--seed", str(seed), "--max-tokens", str(tokens)]) == 0
    rows: np.ndarray = np.load(out / "tokens.npy", mmap_mode="r")
    return rows


def test_special_tokens_are_the_last_ones_in_qwens_order(tokenizer: Tokenizer) -> None:
    first = 1_000 - len(SPECIAL_TOKENS)
    assert tokenizer.get_vocab_size() == 1_000
    assert [tokenizer.id_to_token(i) for i in range(first, 1_000)] == list(SPECIAL_TOKENS)


def test_a_text_too_small_for_the_vocabulary_is_filled_up_with_reserved_tokens() -> None:
    small = train_tokenizer(["a = 1\n"], 400)
    assert small.get_vocab_size() == 400
    assert small.id_to_token(399) == "<|file_sep|>"
    assert small.id_to_token(400 - len(SPECIAL_TOKENS) - 1).startswith("<|reserved_")


def test_digits_stand_alone_and_indents_are_few_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("2048").tokens == ["2", "0", "4", "8"]
    assert len(tokenizer.encode("\n            return").tokens) <= 3


def test_a_special_token_written_in_a_source_stays_text(tokenizer: Tokenizer) -> None:
    text = "x = '<|fim_middle|>' + '<|endoftext|>'\n"
    document: Document = segment(SourceFile("a<|file_sep|>.py", text, "python"))
    encoder = DocumentEncoder(tokenizer)
    ids = encoder.encode([document])[0].tolist()
    specials = {encoder.special(name) for name in SPECIAL_TOKENS}
    assert [token for token in ids if token in specials] == [encoder.special("<|file_sep|>")]
    assert tokenizer.decode(ids[1:], skip_special_tokens=False) == "a<|file_sep|>.py\n" + text


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_training_tokens_are_those_the_engine_feeds(
    order: FimOrder, corpus: Path, tokenizer: Tokenizer, module_text: ModuleText
) -> None:
    engine_side = SegmentTokenizer.from_file(corpus / "tokenizer.json")
    form = PromptFormat.for_model(engine_side, order)
    draw = random.Random(4)
    for _ in range(40):
        split = draw_split(module_text(3, functions=30), draw, Mixture())
        assert split is not None
        split = bounded(split, 1_500, 100_000)
        prompt = form.anchor("p/a.py", split.prefix, split.suffix, prefix_tokens=2_048, suffix_tokens=256)
        wanted = [*prompt.ids, *form.typed(split.typed), *engine_side.encode(split.rest)]
        trained = DocumentEncoder(tokenizer).encode([fim_document("p/a.py", split, order)])[0]
        assert trained.tolist()[:-1] == [int(token) for token in wanted]
        assert trained[-1] == engine_side.special_id("<|endoftext|>")


def test_rows_have_the_asked_shape_and_depend_on_the_seed_alone(corpus: Path, tmp_path: Path) -> None:
    first = rows_of(corpus, tmp_path / "a", seed=1)
    again = rows_of(corpus, tmp_path / "b", seed=1)
    other = rows_of(corpus, tmp_path / "c", seed=2)
    assert first.dtype == np.uint16
    assert first.shape[1] == 257
    assert first.size >= 30_000
    assert (tmp_path / "a/tokens.npy").read_bytes() == (tmp_path / "b/tokens.npy").read_bytes()
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_rows_hold_every_form_and_no_held_out_text(
    corpus: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = rows_of(corpus, tmp_path / "a", seed=1)
    written = tokenizer.decode(rows.ravel().tolist(), skip_special_tokens=False)
    assert "<|repo_name|>one\n" in written
    assert "<|repo_name|>click" not in written
    assert "<|fim_prefix|><|fim_suffix|>" in written
    assert written.count("<|fim_middle|>") > written.count("<|fim_prefix|><|fim_suffix|>") > 0
    held_out = {
        line for _, files in read_side(corpus, "heldout") for f in files for line in f.text.split("\n")
    }
    assert not [line for line in held_out if len(line) > 20 and line in written]


def test_a_bounded_part_ends_at_a_line_within_its_bound(
    tokenizer: Tokenizer, module_text: ModuleText
) -> None:
    text = module_text(5, functions=20)
    ids = DocumentEncoder(tokenizer).encode([(Text(text, max_tokens=100),)])[0].tolist()
    assert 50 < len(ids) <= 100
    kept = tokenizer.decode(ids)
    assert text.startswith(kept)
    assert kept.endswith("\n")


def test_held_out_cases_split_a_code_line_and_give_the_file_back(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "heldout"
    assert main(["--corpus", str(corpus), "--out", str(out), "--held-out", "--seed", "3"]) == 0
    packages = read_side(corpus, "heldout")
    texts = {file.path: file.text for _, files in packages for file in files}
    cases = heldout.draw_cases(packages, 30, random.Random(3))
    assert len(cases) == 30
    for case in cases:
        assert case.prefix + case.typed + case.expected + case.suffix == texts[case.path]
        assert case.prefix == "" or case.prefix.endswith("\n")
        assert "\n" not in case.typed + case.expected
        assert 4 <= len(case.expected) <= 60
        assert sorted(case.context) == sorted(set(texts) - {case.path})
    assert cases == heldout.draw_cases(packages, 30, random.Random(3))
    assert len((out / "files.jsonl").read_bytes().splitlines()) == len(texts)


def test_lines_of_a_docstring_and_comments_are_no_code_rows() -> None:
    text = 'def f():\n    """One.\n\n    Two.\n    """\n    # three\n    return 4\n'
    assert heldout.code_rows(text) == [0, 6]
