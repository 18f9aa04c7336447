"""A model folder's tensors under the Hub's names, checked before the first one is read.

Invariant: `HubTensors` has exactly the names and shapes that the configuration asks for, one tensor an expert
and projection, however they are stored: plain, in NF4, or (as a raw state dict has them) experts fused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.folder import ModelFolder, StoredTensor
from deltaloom_model.quantization.nf4 import (
    STATE_SUFFIX,
    SUFFIXES,
    Nf4Tensor,
    dequantize_nf4,
    unpack_tensors,
)

_FLOATS = {"BF16", "F16", "F32", "F64"}
_EXPERT = re.compile(r"(.+\.mlp\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
_IGNORED = "mtp."
"""Multi-token prediction weights, which published models carry beside the rest."""


class HubTensors(Mapping[str, Tensor]):
    """Lazy: `tensors[name]` reads (and dequantizes) one tensor, in `dtype` (None: as stored) on `device`.

    A tensor may be backed by the file: copy it. Close it, or use it in a `with`, when done.
    Raises `ModelLoadError` where the stored bytes turn out damaged.
    """

    def __init__(
        self, folder: ModelFolder, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self._stored = folder.tensors
        self._shapes = expected_shapes(folder.config)
        self._tied = folder.config.tie_word_embeddings
        self._inner = folder.config.moe_intermediate_size
        self._dtype, self._device = dtype, torch.device(device)
        check_names_and_shapes(folder)
        self._open = ExitStack()
        try:
            self._files: dict[Path, Any] = {
                file: self._open.enter_context(safe_open(file, framework="pt"))
                for file in folder.weight_files
            }
        except (SafetensorError, OSError) as error:
            self._open.close()
            raise ModelLoadError(f"{folder.path} can't be read ({error}); take the model again.") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._files.clear()
        self._open.close()

    def __len__(self) -> int:
        return len(self._shapes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __getitem__(self, name: str) -> Tensor:
        if name == "lm_head.weight" and self._tied:
            name = "model.embed_tokens.weight"
        shape = self._shapes[name]
        quantized = self.nf4(name)
        if quantized is not None:
            return dequantize_nf4(quantized, self._dtype)
        tensor = self._read(name) if name in self._stored else self._expert_slice(name)
        return tensor.to(self._device, self._dtype).reshape(shape)

    def nf4(self, name: str) -> Nf4Tensor | None:
        """The tensor still quantized, on the device, or None where it is stored plain."""
        if name + STATE_SUFFIX not in self._stored:
            return None
        parts = {name + suffix for suffix in ("", *SUFFIXES)} & self._stored.keys()
        quantized = unpack_tensors(name, {part: self._read(part) for part in parts})
        if quantized.shape != self._shapes[name]:
            file = self._stored[name].file
            raise ModelLoadError(
                f"{file} holds '{name}' in shape {quantized.shape}, not {self._shapes[name]}."
            )
        return quantized.to(self._device)

    def _read(self, name: str) -> Tensor:
        file = self._stored[name].file
        try:
            tensor: Tensor = self._files[file].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"{file} can't be read ({error}); take the model again.") from error
        return tensor

    def _expert_slice(self, name: str) -> Tensor:
        """One expert's projection out of the fused tensors."""
        stem, expert, projection = _expert_parts(name)
        fused = f"{stem}.down_proj" if projection == "down_proj" else f"{stem}.gate_up_proj"
        part: Tensor = self._files[self._stored[fused].file].get_slice(fused)[expert]
        if projection == "gate_proj":
            return part[: self._inner]
        return part[self._inner :] if projection == "up_proj" else part


def load_weights(
    folder: ModelFolder, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> HubTensors:
    """Verify the manifest (if there is one) and give the folder's tensors. Raises `ModelLoadError`."""
    folder.verify()
    return HubTensors(folder, dtype, device)


def expected_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model by its Hub name, one an expert and projection; no `lm_head` when tied."""
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, hidden)}
    for layer in range(config.num_hidden_layers):
        stem = f"model.layers.{layer}."
        shapes[stem + "input_layernorm.weight"] = (hidden,)
        mixer = _linear_shapes(config) if config.is_linear_layer(layer) else _attention_shapes(config)
        mlp = (
            _moe_shapes(config)
            if config.is_moe_layer(layer)
            else _mlp_shapes(hidden, config.intermediate_size)
        )
        shapes |= {stem + name: shape for name, shape in mixer.items()}
        shapes |= {f"{stem}mlp.{name}": shape for name, shape in mlp.items()}
        shapes[stem + "post_attention_layernorm.weight"] = (hidden,)
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, hidden)
    return shapes


def check_names_and_shapes(folder: ModelFolder) -> None:
    """Raises `ModelLoadError` unless the folder stores what its configuration asks for, and nothing else."""
    expected, stored = expected_shapes(folder.config), folder.tensors
    wanted: set[str] = set()
    for name, shape in expected.items():
        wanted |= _check_one(folder, name, shape)
    allowed = {"lm_head.weight"} if folder.config.tie_word_embeddings else set()
    for name in sorted(stored.keys() - wanted - allowed):
        if not name.startswith(_IGNORED):
            raise ModelLoadError(f"{stored[name].file} holds '{name}', which config.json has no place for.")


def _check_one(folder: ModelFolder, name: str, shape: tuple[int, ...]) -> set[str]:
    """The stored names that make up the tensor `name`, after checking their shapes and dtypes."""
    stored = folder.tensors
    found = stored.get(name)
    if found is None:
        return _check_fused(folder, name)
    if name + STATE_SUFFIX in stored:
        if found.dtype != "U8" or prod(found.shape) != -(-prod(shape) // 2):
            raise _misshapen(name, found, shape)
        return {name + suffix for suffix in ("", *SUFFIXES)} & stored.keys()
    if found.dtype not in _FLOATS or found.shape != shape:
        raise _misshapen(name, found, shape)
    return {name}


def _check_fused(folder: ModelFolder, name: str) -> set[str]:
    """The same for an expert whose projections may be fused into one tensor a layer."""
    config, match = folder.config, _EXPERT.fullmatch(name)
    if match is not None:
        down = match[3] == "down_proj"
        fused = f"{match[1]}.{'down_proj' if down else 'gate_up_proj'}"
        found = folder.tensors.get(fused)
        if found is not None:
            sizes = (config.moe_intermediate_size, config.hidden_size)
            shape = (config.num_experts, *(sizes[::-1] if down else (2 * sizes[0], sizes[1])))
            if found.dtype not in _FLOATS or found.shape != shape:
                raise _misshapen(fused, found, shape)
            return {fused}
    raise ModelLoadError(f"{folder.path} lacks the tensor '{name}'; take the model again.")


def _misshapen(name: str, found: StoredTensor, shape: tuple[int, ...]) -> ModelLoadError:
    held = f"{found.dtype} {list(found.shape)}"
    return ModelLoadError(
        f"{found.file} holds '{name}' as {held}, not in shape {list(shape)}; take it again."
    )


def _expert_parts(name: str) -> tuple[str, int, str]:
    match = _EXPERT.fullmatch(name)
    assert match is not None, "names were checked when the folder was opened"
    return match[1], int(match[2]), match[3]


def _linear_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    hidden, heads = config.hidden_size, config.linear_num_value_heads
    shapes: dict[str, tuple[int, ...]] = {
        "in_proj_qkvz.weight": (2 * config.key_dim + 2 * config.value_dim, hidden),
        "in_proj_ba.weight": (2 * heads, hidden),
        "conv1d.weight": (config.conv_dim, 1, config.linear_conv_kernel_dim),
        "dt_bias": (heads,),
        "A_log": (heads,),
        "norm.weight": (config.linear_value_head_dim,),
        "out_proj.weight": (hidden, config.value_dim),
    }
    return {f"linear_attn.{name}": shape for name, shape in shapes.items()}


def _attention_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    hidden, width = config.hidden_size, config.head_dim
    queries, keys = config.num_attention_heads * width, config.num_key_value_heads * width
    linears = {"q": (2 * queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
    shapes: dict[str, tuple[int, ...]] = {}
    for letter, shape in linears.items():
        shapes[f"self_attn.{letter}_proj.weight"] = shape
        if config.attention_bias:
            shapes[f"self_attn.{letter}_proj.bias"] = shape[:1]
    return shapes | {"self_attn.q_norm.weight": (width,), "self_attn.k_norm.weight": (width,)}


def _mlp_shapes(hidden: int, inner: int) -> dict[str, tuple[int, ...]]:
    return {
        "gate_proj.weight": (inner, hidden),
        "up_proj.weight": (inner, hidden),
        "down_proj.weight": (hidden, inner),
    }


def _moe_shapes(config: HybridConfig) -> dict[str, tuple[int, ...]]:
    hidden = config.hidden_size
    shapes: dict[str, tuple[int, ...]] = {"gate.weight": (config.num_experts, hidden)}
    for expert in range(config.num_experts):
        one = _mlp_shapes(hidden, config.moe_intermediate_size)
        shapes |= {f"experts.{expert}.{name}": shape for name, shape in one.items()}
    shared = _mlp_shapes(hidden, config.shared_expert_intermediate_size)
    shapes |= {f"shared_expert.{name}": shape for name, shape in shared.items()}
    return shapes | {"shared_expert_gate.weight": (1, hidden)}
