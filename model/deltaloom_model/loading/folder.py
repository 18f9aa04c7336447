"""A model folder, looked at without loading it: configuration, tokenizer, and what its weight files hold.

Invariant: a `ModelFolder` that exists has a valid configuration, safetensors only, and weight files whose
headers are bounded, whose tensors lie inside them, and whose names are unique. Nothing is unpickled and no
code of the model is run. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import msgspec

from deltaloom_model.api import Ability
from deltaloom_model.errors import ModelLoadError
from deltaloom_model.loading.abilities import abilities_of, template_files
from deltaloom_model.loading.config import HybridConfig
from deltaloom_model.loading.manifest import INDEX_NAME, Manifest, read_manifest, verify_files
from deltaloom_model.prompts import PromptFormat
from deltaloom_model.tokenizer import SegmentTokenizer

CONFIG_NAME = "config.json"
TOKENIZER_NAME = "tokenizer.json"
WEIGHTS_NAME = "model.safetensors"

# A published 4-bit mixture of experts has some 450,000 tensors of 150 header bytes, over many files.
_MAX_HEADER_BYTES = 100 << 20
_MAX_CONFIG_BYTES = 1 << 20
_MAX_INDEX_BYTES = 100 << 20
_FOREIGN = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.gguf")

_DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
}


class TensorEntry(msgspec.Struct, frozen=True):
    """One tensor as a safetensors header states it; `data_offsets` count from the header's end, in bytes."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is: in which file, of which safetensors dtype ("BF16", "U8", …) and shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model on disk. `tensors` maps every stored name to its place, over all weight files."""

    path: Path
    config: HybridConfig
    weight_files: tuple[Path, ...]
    tensors: dict[str, StoredTensor]
    manifest: Manifest | None

    @property
    def weight_bytes(self) -> int:
        """Size of all weight files on disk, in bytes."""
        return sum(file.stat().st_size for file in self.weight_files)

    def verify(self) -> None:
        """Compare every file that is loaded with the manifest, if there is one (reads all weights)."""
        if self.manifest is not None:
            names = [CONFIG_NAME, TOKENIZER_NAME, *(file.name for file in self.weight_files)]
            if (self.path / INDEX_NAME).exists():
                names.append(INDEX_NAME)
            names += template_files(self.path, self.manifest)
            verify_files(self.path, self.manifest, names)

    def load_tokenizer(self, cache_bytes: int = 256 << 20) -> SegmentTokenizer:
        """The folder's tokenizer. Raises `ModelLoadError` if the model has no embedding for its ids."""
        tokenizer = SegmentTokenizer.from_file(self.path / TOKENIZER_NAME, cache_bytes)
        if tokenizer.size > self.config.vocab_size:
            raise ModelLoadError(
                f"{self.path / TOKENIZER_NAME} has {tokenizer.size} tokens and the model only "
                f"{self.config.vocab_size}; take both from the same place."
            )
        return tokenizer

    def abilities(self, tokenizer: SegmentTokenizer) -> tuple[Ability, ...]:
        """What this model can be asked (`ModelInfo.abilities`)."""
        return abilities_of(self.path, self.config, tokenizer, self.manifest)

    def prompt_format(self, tokenizer: SegmentTokenizer) -> PromptFormat:
        """How this model's contexts are written."""
        return PromptFormat.for_model(tokenizer, self.config.fim_order, self.config.eos_token_ids)


def open_model_folder(path: Path) -> ModelFolder:
    """Look at a model folder. Raises `ModelLoadError`, one sentence naming the file, if it can't be used."""
    if not path.is_dir():
        raise ModelLoadError(f"There is no model folder {path}; check the model setting.")
    config = read_config(path)
    files = _weight_files(path)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, entry in read_header(file).items():
            if name in tensors:
                raise ModelLoadError(f"{file} holds '{name}' a second time; take the model again.")
            tensors[name] = StoredTensor(file, entry.dtype, entry.shape)
    return ModelFolder(path, config, files, tensors, read_manifest(path))


def read_config(folder: Path) -> HybridConfig:
    """The folder's `config.json`, checked."""
    data = _read_json(folder / CONFIG_NAME, _MAX_CONFIG_BYTES)
    return HybridConfig.from_dict(data)


def read_header(file: Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file, by name, with every size checked against the file's own.

    Source: the safetensors format (8 bytes little-endian header length, JSON header, data). Raises
    `ModelLoadError` for a header that is too long, damaged, or doesn't fit the file.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _MAX_HEADER_BYTES:
                raise ModelLoadError(f"{file} is no safetensors file; take the model again.")
            raw = stream.read(length)
    except OSError as error:
        raise ModelLoadError(f"{file} can't be read ({error.strerror}); take the model again.") from error
    if len(raw) < length:
        raise ModelLoadError(f"{file} is cut short; take the model again.")
    try:
        fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        fields.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(value, type=TensorEntry) for name, value in fields.items()}
    except msgspec.MsgspecError as error:
        raise ModelLoadError(f"{file} has a damaged header ({error}); take the model again.") from error
    _check_layout(file, entries, size - 8 - length)
    return entries


def _check_layout(file: Path, entries: dict[str, TensorEntry], data_bytes: int) -> None:
    """Tensors must follow each other without gap or overlap, up to the file's end."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        width = _DTYPE_BYTES.get(entry.dtype)
        if width is None:
            raise ModelLoadError(f"{file} holds '{name}' as {entry.dtype}, which can't be read.")
        if begin != position or min(entry.shape, default=0) < 0 or end - begin != width * prod(entry.shape):
            raise ModelLoadError(f"{file} has a damaged header ('{name}'); take the model again.")
        position = end
    if position > data_bytes:
        raise ModelLoadError(f"{file} is cut short; take the model again.")
    if position < data_bytes:
        raise ModelLoadError(f"{file} holds more than its header says; take the model again.")


def _weight_files(folder: Path) -> tuple[Path, ...]:
    """The weight files: the single one, or those that the index names."""
    if (folder / WEIGHTS_NAME).is_file():
        return (folder / WEIGHTS_NAME,)
    if (folder / INDEX_NAME).is_file():
        index = _read_json(folder / INDEX_NAME, _MAX_INDEX_BYTES)
        weight_map = index.get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(v, str) for v in weight_map.values()):
            raise ModelLoadError(f"{folder / INDEX_NAME} has no weight_map; take the model again.")
        names = sorted(set(weight_map.values()))
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise ModelLoadError(f"{folder / INDEX_NAME} names {name!r}, which is no file of its folder.")
            if not (folder / name).is_file():
                raise ModelLoadError(f"{folder / name} is missing; take the model again.")
        return tuple(folder / name for name in names)
    foreign = sorted(path.name for pattern in _FOREIGN for path in folder.glob(pattern))
    if foreign:
        raise ModelLoadError(
            f"{folder / foreign[0]} isn't a safetensors file, and only those are loaded; convert the model."
        )
    raise ModelLoadError(f"{folder / WEIGHTS_NAME} is missing; take the model again.")


def _read_json(path: Path, most: int) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ModelLoadError(f"{path} can't be read ({error.strerror}); take the model again.") from error
    if len(content) > most:
        raise ModelLoadError(f"{path} is longer than {most} bytes; take the model again.")
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ModelLoadError(f"{path} is damaged ({error}); take the model again.") from error
