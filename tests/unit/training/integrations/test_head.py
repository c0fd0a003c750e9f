"""Which label every logit answers to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from training.integrations.errors import UnsupportedModel
from training.integrations.head import Head
from training.integrations.head import head_of
from training.integrations.head import rows_of


def test_a_causal_model_predicts_the_next_token(tiny_llama: Callable[..., Any]) -> None:
    assert head_of(tiny_llama()) is Head.NEXT_TOKEN


def test_a_causal_model_whose_name_does_not_say_so_is_known() -> None:
    from transformers import GPT2Config
    from transformers import GPT2LMHeadModel

    config = GPT2Config(vocab_size=40, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    assert head_of(GPT2LMHeadModel(config)) is Head.NEXT_TOKEN


def test_encoder_decoders_predict_their_own_position(
    tiny_t5: Callable[[], Any], tiny_bart: Callable[[], Any]
) -> None:
    assert head_of(tiny_t5()) is Head.SAME_TOKEN
    assert head_of(tiny_bart()) is Head.SAME_TOKEN


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("SequenceClassification", Head.SEQUENCE),
        ("TokenClassification", Head.SAME_TOKEN),
        ("MaskedLM", Head.SAME_TOKEN),
    ],
)
def test_an_encoder_is_known_by_its_head(
    tiny_roberta: Callable[[str], Callable[..., Any]], kind: str, head: Head
) -> None:
    assert head_of(tiny_roberta(kind)()) is head


def test_a_decoder_inside_peft_is_known(tiny_llama: Callable[..., Any]) -> None:
    from peft import LoraConfig
    from peft import get_peft_model

    assert head_of(get_peft_model(tiny_llama(), LoraConfig(task_type="CAUSAL_LM"))) is Head.NEXT_TOKEN


@pytest.mark.parametrize("kind", ["QuestionAnswering", "MultipleChoice"])
def test_a_head_without_one_class_a_row_is_refused(
    tiny_roberta: Callable[[str], Callable[..., Any]], kind: str
) -> None:
    with pytest.raises(UnsupportedModel, match=f"RobertaFor{kind}.*head="):
        head_of(tiny_roberta(kind)())


def test_what_is_no_transformers_model_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="Linear"):
        head_of(torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_labels": 1}, "regression"),
        ({"problem_type": "regression"}, "regression"),
        ({"problem_type": "multi_label_classification"}, "several labels"),
    ],
)
def test_a_classifier_without_classes_is_refused(
    tiny_roberta: Callable[[str], Callable[..., Any]], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnsupportedModel, match=said):
        head_of(tiny_roberta("SequenceClassification")(**changes))


def test_the_labels_are_shifted_and_the_logits_stay_where_they_are() -> None:
    logits = torch.randn(3, 7, 11)
    labels = torch.randint(0, 11, (3, 7))
    labels[0, :4] = -100
    rows, targets = rows_of(Head.NEXT_TOKEN, logits, labels)
    assert rows.data_ptr() == logits.data_ptr()
    sliced = cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(cross_entropy(rows, targets), sliced)


def test_labels_of_the_same_position_stay() -> None:
    logits, labels = torch.randn(2, 3, 5), torch.randint(0, 5, (2, 3))
    rows, targets = rows_of(Head.SAME_TOKEN, logits, labels)
    assert torch.equal(rows[4], logits[1, 1])
    assert torch.equal(targets, labels.flatten())


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_sequence_has_one_label(shape: tuple[int, ...]) -> None:
    logits, labels = torch.randn(4, 3), torch.randint(0, 3, shape)
    rows, targets = rows_of(Head.SEQUENCE, logits, labels)
    assert rows is logits
    assert targets.shape == (4,)


@pytest.mark.parametrize(
    ("head", "logits", "labels"),
    [
        (Head.NEXT_TOKEN, (2, 5, 7), (2, 4)),
        (Head.SAME_TOKEN, (2, 7), (2,)),
        (Head.SEQUENCE, (2, 5, 7), (2, 5)),
        (Head.SEQUENCE, (2, 5), (2, 5)),
    ],
)
def test_logits_and_labels_that_do_not_fit_are_refused(
    head: Head, logits: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    with pytest.raises(UnsupportedModel, match="do not fit"):
        rows_of(head, torch.zeros(logits), torch.zeros(labels, dtype=torch.int64))


def test_labels_that_are_no_class_numbers_are_refused() -> None:
    with pytest.raises(UnsupportedModel, match=r"torch\.float32"):
        rows_of(Head.SEQUENCE, torch.zeros(2, 3), torch.zeros(2, 3))
