"""From a model spec to a model in memory: folder, device, dtype, weights, and what `status` says of them.

Invariant: nothing is returned that has not been read completely; every failure is one `ModelLoadError`.
"""

from __future__ import annotations

import torch

from deltaloom_model.api import ModelInfo, ModelSpec
from deltaloom_model.errors import ModelLoadError
from deltaloom_model.hybrid_model import HybridModel
from deltaloom_model.loading.folder import ModelFolder, open_model_folder
from deltaloom_model.loading.manifest import model_hash
from deltaloom_model.loading.weights import load_weights
from deltaloom_model.runtime_folder import model_folder
from deltaloom_model.tokenizer import SegmentTokenizer

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}


def load_model(spec: ModelSpec) -> tuple[HybridModel, SegmentTokenizer, ModelInfo]:
    """Read the model that `spec` names, dequantizing 4-bit weights. Raises `ModelLoadError`."""
    folder = open_model_folder(model_folder(spec))
    device = _device(spec.device)
    dtype = _dtype(spec.dtype, device)
    tokenizer = folder.load_tokenizer()
    if tokenizer.size > folder.config.vocab_size:
        raise ModelLoadError(
            f"The tokenizer has {tokenizer.size} tokens, but the model only {folder.config.vocab_size}; "
            "take both from one place."
        )
    model = HybridModel(folder.config)
    with load_weights(folder) as tensors:
        model.load_hub_tensors(tensors)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    info = ModelInfo(
        name=folder.path.name,
        hash=model_hash(folder.path),
        architecture="qwen3_next",
        parameters=sum(p.numel() for p in model.parameters()),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        quantization="nf4" if _is_quantized(folder) else "none",
        context_limit=spec.max_tokens or folder.config.max_position_embeddings,
        abilities=folder.abilities(tokenizer),
    )
    return model, tokenizer, info


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelLoadError(
            "model.device is 'cuda', but this torch finds no GPU; run 'deltaloom doctor' or set it to 'auto'."
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    if name not in _DTYPES:
        raise ModelLoadError(f"model.dtype is {name!r}; choose 'auto', 'float32' or 'bfloat16'.")
    return _DTYPES[name]


def _is_quantized(folder: ModelFolder) -> bool:
    return any(name.endswith(".quant_state.bitsandbytes__nf4") for name in folder.tensors)
