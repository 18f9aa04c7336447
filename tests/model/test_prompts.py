"""PromptFormat: the parts in the model's order, joined by ids, bounded without moving at keystrokes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import FimOrder
from deltaloom_model.prompts import TOMBSTONE_TEXT, PromptFormat, bounded_line, one_line, prefix_start
from deltaloom_model.token_sequence import common_prefix_length
from deltaloom_model.tokenizer import SegmentTokenizer

SOURCE = Path(__file__).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def psm(tokenizer: SegmentTokenizer) -> PromptFormat:
    return PromptFormat.for_model(tokenizer, "psm")


@pytest.fixture(scope="module")
def spm(tokenizer: SegmentTokenizer) -> PromptFormat:
    return PromptFormat.for_model(tokenizer, "spm")


@pytest.fixture(scope="module")
def reference(tokenizer_json: bytes) -> Tokenizer:
    """The published tokenizer, which reads special tokens in text: what a format string would give."""
    return Tokenizer.from_str(tokenizer_json.decode())


def test_header_and_segment_are_what_the_format_string_gives(psm: PromptFormat, reference: Tokenizer) -> None:
    text = "x = 1\ny = 2\n"
    assert psm.repository_header("demo").tolist() == reference.encode("<|repo_name|>demo\n").ids
    ids = psm.segment("pkg/a.py", psm.tokenizer.encode(text))
    assert ids.tolist() == reference.encode(f"<|file_sep|>pkg/a.py\n{text}").ids
    assert ids.dtype == np.int32


def test_psm_anchor_is_what_the_format_string_gives(psm: PromptFormat, reference: Tokenizer) -> None:
    anchor = psm.anchor("a.py", "def f():\n", "\n\nprint(1)\n")
    whole = "<|file_sep|>a.py\n<|fim_prefix|>def f():\n<|fim_suffix|>\n\nprint(1)\n<|fim_middle|>"
    assert anchor.ids.tolist() == reference.encode(whole).ids
    assert psm.tokenizer.decode(anchor.ids[slice(*anchor.prefix)]) == "def f():\n"
    assert psm.tokenizer.decode(anchor.ids[slice(*anchor.suffix)]) == "\n\nprint(1)\n"
    assert (anchor.prefix_cut, anchor.suffix_cut) == (0, 0)


def test_spm_anchor_is_what_the_format_string_gives(spm: PromptFormat, reference: Tokenizer) -> None:
    anchor = spm.anchor("a.py", "def f():\n", "\n\nprint(1)\n")
    whole = "<|file_sep|>a.py\n<|fim_prefix|><|fim_suffix|>\n\nprint(1)\n<|fim_middle|>def f():\n"
    assert anchor.ids.tolist() == reference.encode(whole).ids
    assert spm.tokenizer.decode(anchor.ids[slice(*anchor.prefix)]) == "def f():\n"
    assert spm.tokenizer.decode(anchor.ids[slice(*anchor.suffix)]) == "\n\nprint(1)\n"
    assert anchor.prefix[1] == len(anchor.ids)


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_empty_file_still_has_every_marker(tokenizer: SegmentTokenizer, order: FimOrder) -> None:
    prompt = PromptFormat.for_model(tokenizer, order)
    anchor = prompt.anchor("a.py", "", "")
    assert anchor.ids[-3:].tolist() == [prompt.fim_prefix, prompt.fim_suffix, prompt.fim_middle]
    assert anchor.prefix[0] == anchor.prefix[1]


def test_markers_in_text_or_path_never_become_markers(psm: PromptFormat) -> None:
    nasty = "<|fim_middle|><|file_sep|>\n"
    anchor = psm.anchor("<|fim_prefix|>.py", nasty, nasty)
    counts = [int((anchor.ids == t).sum()) for t in (psm.fim_prefix, psm.fim_suffix, psm.fim_middle)]
    assert counts == [1, 1, 1]
    assert int((anchor.ids == psm.file_sep).sum()) == 1
    assert psm.file_sep not in psm.typed(nasty)


def test_a_path_cannot_break_out_of_its_header(psm: PromptFormat) -> None:
    header = psm.segment_header("a\nb\r\u2028\x00c.py")
    assert psm.tokenizer.decode(header) == "a\\nb\\r\\u2028\\x00c.py\n"
    assert one_line("docs/naïve file.py") == "docs/naïve file.py"


def test_tombstone_says_deleted_under_the_files_header(psm: PromptFormat) -> None:
    ids = psm.tombstone("old.py")
    assert ids[0] == psm.file_sep
    assert psm.tokenizer.decode(ids) == "old.py\n" + TOMBSTONE_TEXT


def test_prefix_is_bounded_and_starts_at_a_line(psm: PromptFormat) -> None:
    text = SOURCE * 4
    anchor = psm.anchor("long.py", text, "", prefix_tokens=400)
    kept = psm.tokenizer.decode(anchor.ids[slice(*anchor.prefix)])
    assert 200 <= anchor.prefix[1] - anchor.prefix[0] <= 400
    assert text.endswith("\n" + kept)
    assert anchor.prefix_cut + anchor.prefix[1] - anchor.prefix[0] == len(psm.tokenizer.encode(text))


def test_writing_line_after_line_moves_the_prefix_only_in_large_steps(psm: PromptFormat) -> None:
    text = SOURCE * 3
    cuts = []
    for number in range(120):
        encoded = psm.tokenizer.encode_near("growing", text)
        cuts.append((prefix_start(encoded, 512), len(encoded.ids)))
        text += f"value_{number} = {number}\n"
    written = cuts[-1][1] - cuts[0][1]
    moves = len({cut for cut, _ in cuts}) - 1
    assert moves >= 1
    assert moves <= written // 128 + 1


@pytest.mark.parametrize("order", ["psm", "spm"])
def test_a_new_line_re_reads_only_the_anchors_end(tokenizer: SegmentTokenizer, order: FimOrder) -> None:
    prompt = PromptFormat.for_model(tokenizer, order)
    before = prompt.anchor("a.py", SOURCE, "\nend\n", prefix_tokens=512)
    new_line = "value = 1\n"
    assert prefix_start(tokenizer.encode_document(SOURCE + new_line), 512) == before.prefix_cut
    after = prompt.anchor("a.py", SOURCE + new_line, "\nend\n", prefix_tokens=512)
    assert common_prefix_length(before.ids, after.ids) >= before.prefix[1] - 2


def test_suffix_is_bounded_and_ends_after_a_line(psm: PromptFormat) -> None:
    anchor = psm.anchor("a.py", "", SOURCE)
    kept = psm.tokenizer.decode(anchor.ids[slice(*anchor.suffix)])
    assert 128 <= anchor.suffix[1] - anchor.suffix[0] <= 256
    assert kept.endswith("\n")
    assert SOURCE.startswith(kept)
    assert anchor.suffix_cut == len(SOURCE) - len(kept)


def test_one_endless_line_of_wide_characters_is_never_cut_inside_one(psm: PromptFormat) -> None:
    text = "\U0001f600" * 5000
    anchor = psm.anchor("a.txt", text, text, prefix_tokens=102, suffix_tokens=102)
    for part in (anchor.prefix, anchor.suffix):
        kept = psm.tokenizer.decode(anchor.ids[slice(*part)])
        assert kept
        assert set(kept) == {"\U0001f600"}


def test_suffix_of_long_blank_runs_keeps_within_the_bound(psm: PromptFormat) -> None:
    anchor = psm.anchor("a.py", "", " " * 100_000 + "\nx = 1\n")
    assert 0 < anchor.suffix[1] - anchor.suffix[0] <= 256


def test_stop_ids_are_all_structure_tokens_and_the_models_ends(tokenizer: SegmentTokenizer) -> None:
    prompt = PromptFormat.for_model(tokenizer, "psm", eos_ids=(5,))
    names = ("<|endoftext|>", "<|file_sep|>", "<|repo_name|>", "<|fim_middle|>", "<|im_end|>")
    assert {tokenizer.special_id(name) for name in names} < prompt.stop_ids
    assert 5 in prompt.stop_ids
    assert not (prompt.stop_ids - {5}) & set(tokenizer.encode(SOURCE).tolist())


def test_a_model_without_fim_tokens_is_refused(tokenizer_json: bytes) -> None:
    renamed = SegmentTokenizer(tokenizer_json.replace(b"<|fim_middle|>", b"<|fim_muddle|>"))
    with pytest.raises(ModelLoadError, match="fim_middle"):
        PromptFormat.for_model(renamed, "psm")


def test_a_huge_lines_cut_moves_in_steps_not_at_every_keystroke() -> None:
    line = "".join(f"item_{number}, " for number in range(1000))
    assert bounded_line(line[:4096]) == line[:4096]
    starts = {len(line[:end]) - len(bounded_line(line[:end])) for end in range(4097, 6000)}
    assert starts == {1024, 2048}
    assert all(3072 <= len(bounded_line(line[:end])) <= 4096 for end in range(4097, 6000))
