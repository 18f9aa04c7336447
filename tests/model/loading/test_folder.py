"""A model folder that is corrupt, cut short or foreign is refused in one sentence that names the file."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from deltaloom_model.api import ModelSpec
from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.folder import open_model_folder
from deltaloom_model.loading.manifest import model_hash, write_manifest
from deltaloom_model.loading.weights import load_weights
from deltaloom_model.prompts import PromptFormat
from deltaloom_model.runtime_folder import model_folder

WEIGHTS = "model.safetensors"


def load_all(folder: Path) -> None:
    with load_weights(open_model_folder(folder), torch.float32) as loaded:
        for name in loaded:
            loaded[name]


def refusal(folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_all(folder)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def rewrite(model: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the stored tensors, and make the manifest true again."""
    stored = load_file(model / WEIGHTS)
    change(stored)
    save_file(stored, model / WEIGHTS)
    write_manifest(model, ("config.json", "tokenizer.json", WEIGHTS))


def header_bytes(header: object, data: bytes = b"") -> bytes:
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def test_the_untouched_folder_loads(model: Path) -> None:
    load_all(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    assert name in refusal(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", WEIGHTS])
def test_a_file_that_differs_from_the_manifest_is_named(model: Path, name: str) -> None:
    content = bytearray((model / name).read_bytes())
    if name == WEIGHTS:
        content[-2] ^= 1  # the same size, and still a sound safetensors file
    else:
        content += b"\n"
    (model / name).write_bytes(content)
    assert name in refusal(model)


def test_a_file_the_manifest_does_not_list_is_refused(model: Path) -> None:
    write_manifest(model, ("config.json", "tokenizer.json"))
    assert "isn't listed" in refusal(model)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"files": {}, "format": 99}', b'{"files": {"a": 3}}'])
def test_a_damaged_manifest_is_refused(model: Path, content: bytes) -> None:
    (model / "manifest.json").write_bytes(content)
    assert "manifest.json" in refusal(model)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_truncated_weight_file_is_named_without_a_manifest_too(model: Path, keep: int) -> None:
    (model / "manifest.json").unlink()
    (model / WEIGHTS).write_bytes((model / WEIGHTS).read_bytes()[:keep])
    assert WEIGHTS in refusal(model)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"a": 1}),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        header_bytes({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_bytes({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}),
        header_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        header_bytes({"a": {"dtype": "X7", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        header_bytes({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 5),
        header_bytes({"a": {"dtype": "F32"}}),
        header_bytes(
            {
                "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
            },
            b"\0" * 6,
        ),
    ],
)
def test_a_file_that_is_no_sound_safetensors_is_refused(model: Path, content: bytes) -> None:
    (model / "manifest.json").unlink()
    (model / WEIGHTS).write_bytes(content)
    assert WEIGHTS in refusal(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.gguf", "consolidated.00.pth"])
def test_only_safetensors_are_loaded(model: Path, name: str) -> None:
    (model / WEIGHTS).rename(model / name)
    message = refusal(model)
    assert name in message
    assert "safetensors" in message


def test_a_missing_tensor_is_named(model: Path) -> None:
    rewrite(model, lambda stored: stored.pop("model.layers.3.self_attn.q_norm.weight"))
    assert "model.layers.3.self_attn.q_norm.weight" in refusal(model)


def test_a_missing_expert_is_named(model: Path) -> None:
    name = "model.layers.0.mlp.experts.1.up_proj.weight"
    rewrite(model, lambda stored: [stored.pop(k) for k in list(stored) if k.startswith(name)])
    assert name in refusal(model)


def test_an_extra_tensor_is_named_and_mtp_is_not_extra(model: Path) -> None:
    rewrite(model, lambda stored: stored.update({"mtp.layers.0.norm.weight": torch.zeros(3)}))
    load_all(model)
    rewrite(model, lambda stored: stored.update({"model.layers.9.norm.weight": torch.zeros(3)}))
    assert "model.layers.9.norm.weight" in refusal(model)


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.3.self_attn.k_proj.weight"])
def test_a_tensor_of_another_shape_is_named(model: Path, name: str) -> None:
    rewrite(model, lambda stored: stored.update({name: torch.zeros(5, dtype=stored[name].dtype)}))
    assert name in refusal(model)


def test_a_plain_tensor_of_integers_is_refused(model: Path) -> None:
    rewrite(model, lambda stored: stored.update({"model.norm.weight": torch.zeros(64, dtype=torch.int8)}))
    assert "model.norm.weight" in refusal(model)


def test_quantized_data_that_claims_another_shape_is_refused(model: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    key = name + ".quant_state.bitsandbytes__nf4"

    def transpose(stored: dict[str, Tensor]) -> None:
        state = json.loads(bytes(stored[key].tolist()))
        state["shape"].reverse()
        stored[key] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)

    rewrite(model, transpose)
    assert name in refusal(model)


def shard(model: Path) -> dict[str, str]:
    """Split the weights over two files with an index; returns the weight map."""
    stored = load_file(model / WEIGHTS)
    (model / WEIGHTS).unlink()
    (model / "manifest.json").unlink()
    names = sorted(stored)
    halves = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in halves.items():
        save_file({name: stored[name] for name in part}, model / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


def test_a_sharded_model_loads_like_the_single_file(model: Path, exported: Path) -> None:
    shard(model)
    with (
        load_weights(open_model_folder(model)) as sharded,
        load_weights(open_model_folder(exported)) as single,
    ):
        assert set(sharded) == set(single)
        assert all(torch.equal(sharded[name], single[name]) for name in single)


def test_a_missing_shard_is_named(model: Path) -> None:
    shard(model)
    (model / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refusal(model)


@pytest.mark.parametrize("place", ["../other.safetensors", "/etc/passwd", "sub/x.safetensors", "model.bin"])
def test_an_index_cannot_point_outside_its_folder(model: Path, place: str) -> None:
    weight_map = shard(model) | {"model.norm.weight": place}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "index.json" in refusal(model)


def test_a_tensor_in_two_shards_is_refused(model: Path) -> None:
    shard(model)
    one, two = (model / f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    first = next(iter(load_file(one).items()))
    save_file(load_file(two) | dict([first]), two)
    assert "a second time" in refusal(model)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "nowhere" in refusal(tmp_path / "nowhere")


def test_a_tokenizer_larger_than_the_model_is_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text()) | {"vocab_size": 1207, "eos_token_id": None}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json has 1208 tokens"):
        open_model_folder(model).load_tokenizer()


def test_the_folder_gives_the_models_own_prompt_format(model: Path) -> None:
    folder = open_model_folder(model)
    prompt: PromptFormat = folder.prompt_format(folder.load_tokenizer())
    assert prompt.fim_order == "spm"
    assert 1200 in prompt.stop_ids


def test_model_hash_changes_with_every_part(model: Path) -> None:
    before = model_hash(model)
    assert model_hash(model) == before
    rewrite(model, lambda stored: stored["model.norm.weight"].add_(1))
    weights = model_hash(model)
    (model / "config.json").write_bytes((model / "config.json").read_bytes() + b"\n")
    config = model_hash(model)
    (model / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes() + b"\n")
    assert len({before, weights, config, model_hash(model)}) == 4


def test_model_hash_works_without_a_manifest_and_names_what_is_missing(model: Path) -> None:
    (model / "manifest.json").unlink()
    assert len(model_hash(model)) == 64
    (model / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
        model_hash(model)


def test_nano_is_the_folder_inside_the_package() -> None:
    nano = model_folder(ModelSpec())
    assert (nano.name, nano.parent.name) == ("nano", "deltaloom_model")
    assert model_folder(ModelSpec(path="~/x")) == Path.home() / "x"


def test_inspecting_and_hashing_a_model_leaves_torch_unimported(model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from deltaloom_model.loading.folder import open_model_folder;"
        "from deltaloom_model.loading.manifest import model_hash; p = Path(sys.argv[1]);"
        "f = open_model_folder(p); f.verify(); f.prompt_format(f.load_tokenizer()); print(model_hash(p));"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(model)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == model_hash(model)
