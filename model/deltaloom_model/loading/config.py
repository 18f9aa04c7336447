"""The shape of a hybrid model: what `config.json` says, checked once.

Invariant: a `HybridConfig` that exists is consistent (positive sizes, whole head groups, an even rotary
part, one known layer type a layer), so no code behind it checks again. Field names and defaults are those of
transformers' `Qwen3NextConfig`, whose files the Hub publishes. Torch-free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from deltaloom_model.api import Ability
from deltaloom_model.errors import ModelLoadError

LayerType = Literal["linear_attention", "full_attention"]
FimOrder = Literal["psm", "spm"]

ARCHITECTURE = "Qwen3NextForCausalLM"
MODEL_TYPE = "qwen3_next"

# Bounds on what a config file may ask for, far above any published model: they keep a hostile or damaged
# file from costing memory before the first tensor's shape is compared.
_LIMITS = {"vocab_size": 1 << 24, "num_hidden_layers": 512, "num_experts": 4096}
_DEFAULT_LIMIT = 1 << 20

_LAYER_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "linear_conv_kernel_dim",
    "linear_key_head_dim",
    "linear_value_head_dim",
    "linear_num_key_heads",
    "linear_num_value_heads",
)
_REQUIRED = ("vocab_size", *_LAYER_SIZES, "num_experts")
_OWN = ("abilities",)  # only read from our own part of config.json
_MOE_SIZES = ("moe_intermediate_size", "shared_expert_intermediate_size", "num_experts_per_tok")


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridConfig:
    """Sizes and options of one model, under the names of transformers' `Qwen3NextConfig`.

    `layer_types` empty means: every fourth layer is full attention. `num_experts` 0 means: no MoE layer.
    `fim_order` is Deltaloom's own (`"deltaloom": {"fim_order": …}` in config.json): the order of the
    fill-in-the-middle parts that the model was trained on. So are the `abilities` stated beside it, for a
    folder whose chat template doesn't tell (empty: it does). Raises `ModelLoadError` when inconsistent.
    """

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    linear_key_head_dim: int
    linear_value_head_dim: int
    linear_num_key_heads: int
    linear_num_value_heads: int
    linear_conv_kernel_dim: int = 4
    intermediate_size: int = 0
    num_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    shared_expert_intermediate_size: int = 0
    norm_topk_prob: bool = True
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()
    layer_types: tuple[LayerType, ...] = ()
    hidden_act: str = "silu"
    max_position_embeddings: int = 32768
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 0.25
    attention_bias: bool = False
    tie_word_embeddings: bool = False
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    fim_order: FimOrder = "psm"
    abilities: tuple[Ability, ...] = ()

    def __post_init__(self) -> None:
        if not self.layer_types:
            object.__setattr__(self, "layer_types", default_layer_types(self.num_hidden_layers))
        _check(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HybridConfig:
        """Read a parsed `config.json`, of transformers 4 (flat rope fields) or 5 (`rope_parameters`).

        Raises `ModelLoadError` for another architecture, code of its own (`auto_map`), another
        quantization than bitsandbytes NF4, and missing or senseless fields.
        """
        return _parse(data)

    def to_dict(self) -> dict[str, Any]:
        """The content of a `config.json` that transformers and `from_dict` read back as this config."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        rope = {
            "rope_type": "default",
            "rope_theta": fields.pop("rope_theta"),
            "partial_rotary_factor": fields.pop("partial_rotary_factor"),
        }
        eos = list(fields.pop("eos_token_ids"))
        own: dict[str, Any] = {"fim_order": fields.pop("fim_order")}
        if abilities := fields.pop("abilities"):
            own["abilities"] = list(abilities)
        fields |= {name: list(fields[name]) for name in ("mlp_only_layers", "layer_types")}
        return {
            "architectures": [ARCHITECTURE],
            "model_type": MODEL_TYPE,
            "deltaloom": own,
            "eos_token_id": eos[0] if len(eos) == 1 else (eos or None),
            "rope_parameters": rope,
            **fields,
        }

    def is_linear_layer(self, layer: int) -> bool:
        """Is layer `layer` (from 0) a Gated DeltaNet layer, not a Gated Attention layer?"""
        return self.layer_types[layer] == "linear_attention"

    def is_moe_layer(self, layer: int) -> bool:
        """Is the MLP of layer `layer` (from 0) a sparse mixture of experts?"""
        return (
            self.num_experts > 0
            and layer not in self.mlp_only_layers
            and (layer + 1) % self.decoder_sparse_step == 0
        )

    @property
    def linear_layers(self) -> tuple[int, ...]:
        """The Gated DeltaNet layers, in order."""
        return tuple(i for i in range(self.num_hidden_layers) if self.is_linear_layer(i))

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """The Gated Attention layers, in order."""
        return tuple(i for i in range(self.num_hidden_layers) if not self.is_linear_layer(i))

    @property
    def key_dim(self) -> int:
        """Width of all DeltaNet keys (and of all queries): key heads times key head size."""
        return self.linear_num_key_heads * self.linear_key_head_dim

    @property
    def value_dim(self) -> int:
        """Width of all DeltaNet values: value heads times value head size."""
        return self.linear_num_value_heads * self.linear_value_head_dim

    @property
    def conv_dim(self) -> int:
        """Channels of the short convolution: queries, keys and values side by side."""
        return 2 * self.key_dim + self.value_dim

    @property
    def rotary_dim(self) -> int:
        """How many of an attention head's dimensions, from the first, are rotated (even)."""
        return int(self.head_dim * self.partial_rotary_factor)


def default_layer_types(layers: int, interval: int = 4) -> tuple[LayerType, ...]:
    """Every `interval`-th layer is full attention, all others are linear."""
    return tuple("linear_attention" if (i + 1) % interval else "full_attention" for i in range(layers))


def _parse(data: Mapping[str, Any]) -> HybridConfig:
    _check_foreign(data)
    known = HybridConfig.__dataclass_fields__
    fields: dict[str, Any] = {k: v for k, v in data.items() if k in known and v is not None and k not in _OWN}
    for name in _REQUIRED:
        if name not in fields:
            raise ModelLoadError(f"config.json has no '{name}'; take it from the model's publisher again.")
    fields |= _rope(data)
    layers = _whole("num_hidden_layers", fields["num_hidden_layers"], 1)
    interval = _whole("full_attention_interval", data.get("full_attention_interval") or 4, 1)
    fields["layer_types"] = tuple(_listed("layer_types", data, str)) or default_layer_types(layers, interval)
    fields["mlp_only_layers"] = tuple(_listed("mlp_only_layers", data, int))
    eos = data.get("eos_token_id")
    fields["eos_token_ids"] = (
        tuple(_listed("eos_token_id", {"eos_token_id": eos}, int))
        if isinstance(eos, list)
        else (() if eos is None else (_whole("eos_token_id", eos, 0),))
    )
    own = data.get("deltaloom")
    if isinstance(own, Mapping):
        if "fim_order" in own:
            fields["fim_order"] = own["fim_order"]
        fields["abilities"] = tuple(_listed("abilities", own, str))
    return HybridConfig(**fields)


def _check_foreign(data: Mapping[str, Any]) -> None:
    """Refuse what this package can't run, before looking at sizes."""
    if "auto_map" in data:
        raise ModelLoadError(
            "config.json asks for code of its own (auto_map), which is never run; choose a model without it."
        )
    architectures = data.get("architectures") or [ARCHITECTURE]
    if data.get("model_type") != MODEL_TYPE or ARCHITECTURE not in architectures:
        found = data.get("model_type") or architectures
        raise ModelLoadError(f"The model is a {found!r}; choose one of type '{MODEL_TYPE}' ({ARCHITECTURE}).")
    quantization = data.get("quantization_config")
    if quantization is None:
        return
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else quantization
    kind = quantization.get("bnb_4bit_quant_type") if isinstance(quantization, Mapping) else None
    if method != "bitsandbytes" or kind != "nf4":
        raise ModelLoadError(
            f"The model is quantized with {method!r} ({kind!r}); choose one in bf16 or in bitsandbytes NF4."
        )


def _rope(data: Mapping[str, Any]) -> dict[str, float]:
    """Rotary fields from `rope_parameters` (transformers 5), `rope_scaling` or flat ones (4)."""
    nested = data.get("rope_parameters") or data.get("rope_scaling") or {}
    if not isinstance(nested, Mapping):
        raise ModelLoadError("config.json's rope_parameters is not an object; take the file again.")
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind != "default":
        raise ModelLoadError(
            f"The model scales its rotary embedding ({kind!r}); only 'default' is supported."
        )
    flat = {"rope_theta": 10_000.0, "partial_rotary_factor": 0.25}
    return {k: nested.get(k, data.get(k, default)) for k, default in flat.items()}


def _listed(name: str, data: Mapping[str, Any], kind: type) -> list[Any]:
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise ModelLoadError(
            f"config.json's '{name}' must be a list of {kind.__name__}; take the file again."
        )
    return value


def _whole(name: str, value: object, least: int) -> int:
    """`value` as a whole number from `least` up to the field's limit, or a ModelLoadError."""
    most = _LIMITS.get(name, _DEFAULT_LIMIT)
    if name.endswith("token_id") or name == "max_position_embeddings":
        most = 1 << 31
    if type(value) is not int or not least <= value <= most:
        raise ModelLoadError(
            f"config.json's '{name}' is {value!r}, which is no whole number from {least} to {most}; "
            "take the file from the model's publisher again."
        )
    return value


def _check(config: HybridConfig) -> None:
    for name in ("vocab_size", *_LAYER_SIZES, "decoder_sparse_step", "max_position_embeddings"):
        _whole(name, getattr(config, name), 1)
    _whole("num_experts", config.num_experts, 0)
    _check_flags(config)
    _require(len(config.layer_types) == config.num_hidden_layers, "layer_types must name every layer once")
    _require(set(config.layer_types) <= {"linear_attention", "full_attention"}, "a layer type is unknown")
    layers = range(config.num_hidden_layers)
    _require(
        all(i in layers for i in config.mlp_only_layers), "mlp_only_layers names a layer that isn't there"
    )
    moe = [config.is_moe_layer(i) for i in layers]
    for name in _MOE_SIZES if any(moe) else ():
        _whole(name, getattr(config, name), 1)
    if not all(moe):
        _whole("intermediate_size", config.intermediate_size, 1)
    _require(not any(moe) or config.num_experts_per_tok <= config.num_experts, "too many experts per token")
    _require(
        config.num_attention_heads % config.num_key_value_heads == 0,
        "attention heads must share KV heads evenly",
    )
    _require(
        config.linear_num_value_heads % config.linear_num_key_heads == 0,
        "value heads must share key heads evenly",
    )
    rotary = config.rotary_dim
    _require(
        2 <= rotary <= config.head_dim and rotary % 2 == 0, "the rotary part must be even and fit the head"
    )
    for token in (config.bos_token_id, *config.eos_token_ids):
        _require(
            token is None or 0 <= token < config.vocab_size, "a special token lies outside the vocabulary"
        )


def _check_flags(config: HybridConfig) -> None:
    for name in ("attention_bias", "tie_word_embeddings", "norm_topk_prob"):
        _require(type(getattr(config, name)) is bool, f"{name} must be true or false")
    for name in ("rms_norm_eps", "rope_theta", "partial_rotary_factor"):
        value = cast(object, getattr(config, name))
        _require(isinstance(value, int | float) and 0 < value < 1e12, f"{name} must be a positive number")
    _require(config.hidden_act == "silu", f"hidden_act {config.hidden_act!r} is not supported (only 'silu')")
    _require(config.fim_order in ("psm", "spm"), f"fim_order {config.fim_order!r} must be 'psm' or 'spm'")
    _require(set(config.abilities) <= set(get_args(Ability)), "an ability is unknown")
    if config.bos_token_id is not None:
        _whole("bos_token_id", config.bos_token_id, 0)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ModelLoadError(f"config.json makes no sense: {what}; take the file from its publisher again.")
