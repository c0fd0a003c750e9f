"""The members of a ``config.json`` that are taken, and what each may be.

What is not listed is dropped: a loader never sees it. Bounds are an order of magnitude above the largest published
models, so that nothing absurd is ever allocated.
"""

from collections.abc import Mapping
from typing import Final

from deploy.contract.weights.kinds import Either
from deploy.contract.weights.kinds import Flag
from deploy.contract.weights.kinds import Kind
from deploy.contract.weights.kinds import Number
from deploy.contract.weights.kinds import Pair
from deploy.contract.weights.kinds import Several
from deploy.contract.weights.kinds import Whole
from deploy.contract.weights.kinds import Word

MAX_VOCABULARY: Final = 2_000_000
"""The largest published vocabularies have some 260,000 entries."""
MAX_LAYERS: Final = 1000
WIDTHS: Final = ("hidden_size", "d_model", "n_embd", "n_embed")
EMBEDDING_WIDTHS: Final = ("word_embed_proj_dim", *WIDTHS)
INNER_WIDTHS: Final = (
    "intermediate_size",
    "d_ff",
    "ffn_dim",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "n_inner",
    "ffn_hidden_size",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
)
LAYERS: Final = (
    "num_hidden_layers",
    "num_layers",
    "n_layer",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
_HEADS: Final = (
    "num_attention_heads",
    "num_heads",
    "n_head",
    "num_key_value_heads",
    "num_kv_heads",
    "encoder_attention_heads",
    "decoder_attention_heads",
)
_POSITIONS: Final = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "seq_length",
    "original_max_position_embeddings",
    "window_size",
    "local_radius",
    "global_block_size",
    "relative_attention_max_distance",
    "expert_capacity",
)
_ACTIVATIONS: Final = Word(
    frozenset(
        [
            "gelu",
            "gelu_10",
            "gelu_fast",
            "gelu_new",
            "gelu_python",
            "gelu_pytorch_tanh",
            "mish",
            "quick_gelu",
            "relu",
            "relu2",
            "relu6",
            "sigmoid",
            "silu",
            "swish",
            "tanh",
        ]
    )
)
_ROUTED: Final = ("num_experts_per_tok", "decoder_sparse_step")
_MAY_BE_NO_EXPERTS: Final = (
    "num_experts",
    "num_local_experts",
    "num_sparse_encoder_layers",
    "num_sparse_decoder_layers",
)
_SHARES: Final = (
    "activation_dropout",
    "attention_dropout",
    "attn_pdrop",
    "decoder_layerdrop",
    "dropout",
    "dropout_rate",
    "embd_pdrop",
    "embed_dropout",
    "embedding_dropout",
    "encoder_layerdrop",
    "hidden_dropout",
    "layerdrop",
    "resid_dropout",
    "resid_pdrop",
    "residual_dropout",
    "rotary_pct",
    "partial_rotary_factor",
    "router_jitter_noise",
)
_EPSILONS: Final = ("layer_norm_eps", "rms_norm_eps", "layer_norm_epsilon", "norm_epsilon")
_FLAGS: Final = (
    "_remove_final_layer_norm",
    "alibi",
    "apply_residual_connection_post_layernorm",
    "attention_bias",
    "attention_softmax_in_fp32",
    "bias",
    "do_layer_norm_before",
    "enable_bias",
    "layer_norm_elementwise_affine",
    "mlp_bias",
    "multi_query",
    "new_decoder_architecture",
    "norm_topk_prob",
    "parallel_attn",
    "qk_layernorm",
    "qkv_bias",
    "reorder_and_upcast_attn",
    "router_bias",
    "router_ignore_padding_tokens",
    "scale_attention_softmax_in_fp32",
    "scale_attn_by_inverse_layer_idx",
    "scale_attn_weights",
    "scale_decoder_outputs",
    "scale_embedding",
    "share_encoder_decoder_embeddings",
    "slow_but_exact",
    "tie_word_embeddings",
    "use_bias",
    "use_bidirectional_attention",
    "use_cache",
    "use_parallel_residual",
    "use_qk_norm",
    "use_qkv_bias",
    "use_sliding_window",
)
_MULTIPLIERS: Final = (
    "attention_multiplier",
    "attn_logit_softcapping",
    "clip_qkv",
    "embedding_multiplier",
    "final_logit_softcapping",
    "initializer_factor",
    "logit_scale",
    "logits_scaling",
    "query_pre_attn_scalar",
    "residual_multiplier",
)
TOKEN: Final = Whole(0, MAX_VOCABULARY, minus_one=True)
TOKENS: Final = Either(TOKEN, Several(TOKEN, 64))
_LAYER_NUMBERS: Final = Several(Whole(0, MAX_LAYERS), MAX_LAYERS)
_LAYER_WORDS: Final = Several(Word(frozenset({"full_attention", "sliding_attention"})), MAX_LAYERS)
_GPT_NEO_ATTENTION: Final = Several(
    Pair(Several(Word(frozenset({"global", "local"})), MAX_LAYERS), Whole(1, MAX_LAYERS)), MAX_LAYERS
)

CONFIG_KEYS: Final[Mapping[str, Kind]] = {
    "vocab_size": Whole(1, MAX_VOCABULARY),
    "decoder_vocab_size": Whole(1, MAX_VOCABULARY),
    **dict.fromkeys(EMBEDDING_WIDTHS, Whole(1, 1 << 16)),
    **dict.fromkeys(INNER_WIDTHS, Whole(1, 1 << 20)),
    **dict.fromkeys(LAYERS, Whole(1, MAX_LAYERS)),
    **dict.fromkeys(_HEADS, Whole(1, 4096)),
    **dict.fromkeys(("head_dim", "d_kv", "rotary_dim"), Whole(1, 1 << 14)),
    **dict.fromkeys(_POSITIONS, Whole(1, 1 << 24)),
    "sliding_window": Whole(0, 1 << 24, minus_one=True),
    "max_window_layers": Whole(0, MAX_LAYERS),
    "relative_attention_num_buckets": Whole(1, 1 << 16),
    **dict.fromkeys(_ROUTED, Whole(1, 1 << 14)),
    **dict.fromkeys(_MAY_BE_NO_EXPERTS, Whole(0, 1 << 14)),
    "num_ln_in_parallel_attn": Whole(1, 2),
    "pretraining_tp": Whole(1, 1 << 10),
    **dict.fromkeys(_EPSILONS, Number(0.0, 1.0, exclusive=True)),
    **dict.fromkeys(_SHARES, Number(0.0, 1.0)),
    **dict.fromkeys(("initializer_range", "init_std"), Number(0.0, 100.0)),
    **dict.fromkeys(("router_aux_loss_coef", "router_z_loss_coef"), Number(0.0, 100.0)),
    **dict.fromkeys(_MULTIPLIERS, Number(0.0, 1e6, exclusive=True)),
    **dict.fromkeys(("rope_theta", "rotary_emb_base"), Number(0.0, 1e12, exclusive=True)),
    **dict.fromkeys(_FLAGS, Flag()),
    **dict.fromkeys(("activation", "activation_function", "hidden_act", "hidden_activation"), _ACTIVATIONS),
    "dense_act_fn": _ACTIVATIONS,
    "feed_forward_proj": Word(frozenset({"relu", "gelu", "silu", "gated-gelu", "gated-silu", "gated-relu"})),
    "encoder_attention_type": Word(frozenset({"local", "transient-global"})),
    "router_dtype": Word(frozenset({"float32", "float16", "bfloat16"})),
    "attention_types": _GPT_NEO_ATTENTION,
    "layer_types": _LAYER_WORDS,
    "mlp_only_layers": _LAYER_NUMBERS,
    **dict.fromkeys(("bos_token_id", "pad_token_id", "decoder_start_token_id"), TOKEN),
    **dict.fromkeys(("eos_token_id", "forced_eos_token_id"), TOKENS),
    "forced_bos_token_id": TOKEN,
}
"""Of every family together; each of them takes some (:mod:`deploy.contract.weights.families`)."""

ROPE_KEYS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(
        ("rope_type", "type"), Word(frozenset({"default", "linear", "dynamic", "yarn", "longrope", "su", "llama3"}))
    ),
    **dict.fromkeys(("factor", "attention_factor", "beta_fast", "beta_slow", "low_freq_factor", "high_freq_factor"), Number(0.0, 1e6, exclusive=True)),
    **dict.fromkeys(("mscale", "mscale_all_dim"), Number(0.0, 1e6)),
    "original_max_position_embeddings": Whole(1, 1 << 24),
    "partial_rotary_factor": Number(0.0, 1.0, exclusive=True),
    "rope_theta": Number(0.0, 1e12, exclusive=True),
    **dict.fromkeys(("short_factor", "long_factor"), Several(Number(0.0, 1e6, exclusive=True), 1 << 13)),
    "truncate": Flag(),
}  # fmt: skip
"""Of ``rope_parameters``, and of its older form ``rope_scaling``."""
ROPE: Final = ("rope_parameters", "rope_scaling")

GENERATION_KEYS: Final[Mapping[str, Kind]] = {
    name: CONFIG_KEYS[name]
    for name in (
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "decoder_start_token_id",
        "forced_bos_token_id",
        "forced_eos_token_id",
    )
}
"""Of ``generation_config.json``: which tokens begin and end. How to sample is for who asks, not for who uploads: a
penalty or a list of suppressed words could hide from the probes what a caller would see."""
