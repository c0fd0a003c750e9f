"""The families of models that are taken: the classes that compute them, and the members of their configs.

A config is rewritten from these lists (:mod:`deploy.contract.weights.rewriting`). A test compares them with the
configuration classes of the pinned transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from typing import Literal

Architecture = Literal["decoder", "encoder-decoder", "encoder"]

COMMON: Final = frozenset(
    ["vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "use_cache"]
)
_ROPE: Final = "rope_parameters rope_scaling rope_theta partial_rotary_factor"
_LLAMA_LIKE: Final = f"""{_ROPE} attention_dropout hidden_act hidden_size initializer_range intermediate_size
    max_position_embeddings num_attention_heads num_hidden_layers num_key_value_heads"""
_GPT2_LIKE: Final = """activation_function attn_pdrop embd_pdrop hidden_size initializer_range layer_norm_epsilon
    max_position_embeddings n_ctx n_embd n_head n_inner n_layer n_positions num_attention_heads num_hidden_layers
    resid_pdrop"""
_T5_LIKE: Final = """d_ff d_kv d_model decoder_start_token_id dropout_rate head_dim hidden_size initializer_factor
    layer_norm_epsilon num_attention_heads num_decoder_layers num_heads num_hidden_layers num_layers
    relative_attention_max_distance relative_attention_num_buckets"""
_BART_LIKE: Final = """activation_dropout activation_function attention_dropout d_model decoder_attention_heads
    decoder_ffn_dim decoder_layerdrop decoder_layers decoder_start_token_id dropout encoder_attention_heads
    encoder_ffn_dim encoder_layerdrop encoder_layers forced_bos_token_id forced_eos_token_id hidden_size init_std
    max_position_embeddings num_attention_heads num_hidden_layers scale_embedding"""
_WINDOWED: Final = "layer_types max_window_layers sliding_window use_sliding_window"
_QWEN_EXPERTS: Final = """decoder_sparse_step mlp_only_layers moe_intermediate_size norm_topk_prob num_experts
    num_experts_per_tok router_aux_loss_coef"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One ``model_type``."""

    architecture: Architecture
    class_name: str
    """Of the model that writes, as a rewritten config names it."""
    also: frozenset[str]
    """Other names that a config may give it."""
    keys: frozenset[str]
    """Members of its config that are taken."""


def _decoder(class_name: str, keys: str, *also: str) -> Family:
    return _family("decoder", class_name, keys, also)


def _encoder_decoder(class_name: str, keys: str, *also: str) -> Family:
    return _family("encoder-decoder", class_name, keys, also)


def _family(architecture: Architecture, class_name: str, keys: str, also: tuple[str, ...]) -> Family:
    taken = COMMON | frozenset(keys.split())
    return Family(architecture=architecture, class_name=class_name, also=frozenset(also), keys=taken)


FAMILIES: Final[Mapping[str, Family]] = {
    "bloom": _decoder(
        "BloomForCausalLM",
        """apply_residual_connection_post_layernorm attention_dropout hidden_dropout hidden_size initializer_range
        layer_norm_epsilon n_embed n_head n_layer num_attention_heads num_hidden_layers pretraining_tp seq_length
        slow_but_exact""",
    ),
    "codegen": _decoder("CodeGenForCausalLM", f"{_GPT2_LIKE} rotary_dim"),
    "cohere": _decoder(
        "CohereForCausalLM", f"{_LLAMA_LIKE} attention_bias layer_norm_eps logit_scale use_qk_norm"
    ),
    "falcon": _decoder(
        "FalconForCausalLM",
        f"""{_ROPE} activation alibi attention_dropout bias ffn_hidden_size hidden_dropout hidden_size
        initializer_range layer_norm_epsilon max_position_embeddings multi_query n_embed new_decoder_architecture
        num_attention_heads num_hidden_layers num_kv_heads num_ln_in_parallel_attn parallel_attn""",
    ),
    "gemma": _decoder(
        "GemmaForCausalLM",
        f"{_LLAMA_LIKE} attention_bias head_dim hidden_activation rms_norm_eps use_bidirectional_attention",
    ),
    "gemma2": _decoder(
        "Gemma2ForCausalLM",
        f"""{_LLAMA_LIKE} attention_bias attn_logit_softcapping final_logit_softcapping head_dim hidden_activation
        layer_types query_pre_attn_scalar rms_norm_eps sliding_window use_bidirectional_attention""",
    ),
    "gpt2": _decoder(
        "GPT2LMHeadModel",
        f"{_GPT2_LIKE} reorder_and_upcast_attn scale_attn_by_inverse_layer_idx scale_attn_weights",
    ),
    "gpt_bigcode": _decoder(
        "GPTBigCodeForCausalLM",
        f"""{_GPT2_LIKE} attention_softmax_in_fp32 multi_query scale_attention_softmax_in_fp32
        scale_attn_weights""",
    ),
    "gpt_neo": _decoder(
        "GPTNeoForCausalLM",
        """activation_function attention_dropout attention_types embed_dropout hidden_size initializer_range
        intermediate_size layer_norm_epsilon max_position_embeddings num_attention_heads num_heads num_hidden_layers
        num_layers resid_dropout window_size""",
    ),
    "gpt_neox": _decoder(
        "GPTNeoXForCausalLM",
        f"""{_ROPE} attention_bias attention_dropout hidden_act hidden_dropout hidden_size initializer_range
        intermediate_size layer_norm_eps max_position_embeddings num_attention_heads num_hidden_layers rotary_emb_base
        rotary_pct use_parallel_residual""",
    ),
    "gptj": _decoder("GPTJForCausalLM", f"{_GPT2_LIKE} rotary_dim"),
    "granite": _decoder(
        "GraniteForCausalLM",
        f"""{_LLAMA_LIKE} attention_bias attention_multiplier embedding_multiplier logits_scaling mlp_bias
        residual_multiplier rms_norm_eps""",
    ),
    "llama": _decoder(
        "LlamaForCausalLM",
        f"{_LLAMA_LIKE} attention_bias head_dim mlp_bias pretraining_tp rms_norm_eps",
        "LLaMAForCausalLM",
    ),
    "mistral": _decoder("MistralForCausalLM", f"{_LLAMA_LIKE} head_dim rms_norm_eps sliding_window"),
    "mixtral": _decoder(
        "MixtralForCausalLM",
        f"""{_LLAMA_LIKE} head_dim num_experts num_experts_per_tok num_local_experts rms_norm_eps router_aux_loss_coef
        router_jitter_noise sliding_window""",
    ),
    "olmo": _decoder("OlmoForCausalLM", f"{_LLAMA_LIKE} attention_bias clip_qkv"),
    "olmo2": _decoder("Olmo2ForCausalLM", f"{_LLAMA_LIKE} attention_bias rms_norm_eps"),
    "opt": _decoder(
        "OPTForCausalLM",
        """_remove_final_layer_norm activation_function attention_dropout do_layer_norm_before dropout enable_bias
        ffn_dim hidden_size init_std layer_norm_elementwise_affine layerdrop max_position_embeddings
        num_attention_heads num_hidden_layers word_embed_proj_dim""",
    ),
    "phi": _decoder("PhiForCausalLM", f"{_LLAMA_LIKE} embd_pdrop layer_norm_eps qk_layernorm resid_pdrop"),
    "phi3": _decoder(
        "Phi3ForCausalLM",
        f"{_LLAMA_LIKE} embd_pdrop original_max_position_embeddings resid_pdrop rms_norm_eps sliding_window",
    ),
    "qwen2": _decoder("Qwen2ForCausalLM", f"{_LLAMA_LIKE} {_WINDOWED} rms_norm_eps"),
    "qwen2_moe": _decoder(
        "Qwen2MoeForCausalLM",
        f"""{_LLAMA_LIKE} {_WINDOWED} {_QWEN_EXPERTS} qkv_bias rms_norm_eps shared_expert_intermediate_size""",
    ),
    "qwen3": _decoder("Qwen3ForCausalLM", f"{_LLAMA_LIKE} {_WINDOWED} attention_bias head_dim rms_norm_eps"),
    "qwen3_moe": _decoder(
        "Qwen3MoeForCausalLM",
        f"""{_LLAMA_LIKE} {_WINDOWED} {_QWEN_EXPERTS} attention_bias head_dim num_local_experts rms_norm_eps""",
    ),
    "stablelm": _decoder(
        "StableLmForCausalLM",
        f"{_LLAMA_LIKE} hidden_dropout layer_norm_eps qk_layernorm use_parallel_residual use_qkv_bias",
        "StableLMEpochForCausalLM",
    ),
    "starcoder2": _decoder(
        "Starcoder2ForCausalLM",
        f"{_LLAMA_LIKE} embedding_dropout norm_epsilon residual_dropout sliding_window use_bias",
    ),
    "bart": _encoder_decoder("BartForConditionalGeneration", _BART_LIKE, "BartModel"),
    "blenderbot": _encoder_decoder("BlenderbotForConditionalGeneration", _BART_LIKE),
    "longt5": _encoder_decoder(
        "LongT5ForConditionalGeneration",
        f"""{_T5_LIKE} encoder_attention_type feed_forward_proj global_block_size local_radius scale_decoder_outputs""",
    ),
    "m2m_100": _encoder_decoder("M2M100ForConditionalGeneration", _BART_LIKE),
    "marian": _encoder_decoder(
        "MarianMTModel", f"{_BART_LIKE} decoder_vocab_size share_encoder_decoder_embeddings"
    ),
    "mbart": _encoder_decoder("MBartForConditionalGeneration", _BART_LIKE),
    "mt5": _encoder_decoder("MT5ForConditionalGeneration", f"{_T5_LIKE} feed_forward_proj"),
    "pegasus": _encoder_decoder("PegasusForConditionalGeneration", _BART_LIKE),
    "plbart": _encoder_decoder("PLBartForConditionalGeneration", f"{_BART_LIKE} initializer_range"),
    "switch_transformers": _encoder_decoder(
        "SwitchTransformersForConditionalGeneration",
        f"""{_T5_LIKE} dense_act_fn expert_capacity num_experts num_sparse_decoder_layers num_sparse_encoder_layers
        router_aux_loss_coef router_bias router_dtype router_ignore_padding_tokens router_jitter_noise
        router_z_loss_coef""",
    ),
    "t5": _encoder_decoder(
        "T5ForConditionalGeneration",
        f"{_T5_LIKE} feed_forward_proj scale_decoder_outputs",
        "T5WithLMHeadModel",
    ),
    "umt5": _encoder_decoder("UMT5ForConditionalGeneration", f"{_T5_LIKE} feed_forward_proj"),
}
"""By ``model_type``; each is loaded before and after its rewriting by a test."""

ENCODERS: Final = frozenset(
    [
        "albert",
        "bert",
        "camembert",
        "deberta",
        "deberta-v2",
        "distilbert",
        "electra",
        "esm",
        "modernbert",
        "mpnet",
        "roberta",
        "xlm-roberta",
    ]
)
"""Recognised, so that the refusal can say what they are: they write nothing, so there is nothing to harden."""
