"""The members of configs that we take, against the configuration classes of the pinned transformers."""

from typing import Final

import pytest

from deploy.contract.weights.families import FAMILIES

ABOUT_THE_FILE: Final = frozenset(
    [
        "_name_or_path",
        "architectures",
        "chunk_size_feed_forward",
        "dtype",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "transformers_version",
    ]
)
"""Written by us, or of no effect on what a model that writes computes."""
HEADS: Final = frozenset(
    [
        "classifier_dropout",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    ]
)
"""Of models that classify."""
DERIVED: Final = frozenset(["attention_layers", "dense_act_fn", "is_gated_act"])
"""Computed by the class itself from members that are taken."""
AS_BY_DEFAULT: Final = frozenset(
    [
        "add_cross_attention",
        "add_router_probs",
        "encoder_no_repeat_ngram_size",
        "is_decoder",
        "output_router_logits",
    ]
)
"""What another value would ask for is not what we train and serve."""
FOR_ONE: Final = {
    "gpt_bigcode": {"num_key_value_heads"},
    "switch_transformers": {"decoder_sparse_step", "encoder_sparse_step"},
}
"""Derived there, but a member of its own in other families."""


@pytest.mark.filterwarnings("ignore")  # the library's own, about token ids of its defaults
@pytest.mark.parametrize("model_type", FAMILIES)
def test_b7_no_member_that_a_family_computes_with_is_left_out(model_type: str) -> None:
    import transformers

    family = FAMILIES[model_type]
    assert hasattr(transformers, family.class_name)
    members = set(transformers.CONFIG_MAPPING[model_type]().to_dict())
    explained = ABOUT_THE_FILE | HEADS | DERIVED | AS_BY_DEFAULT | FOR_ONE.get(model_type, set())
    assert members - family.keys - explained == set()
