from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config
from transformers import T5ForConditionalGeneration

from training.data.prompt import encode_prompt
from training.model import LoadedModel
from training.model import load_model
from training.pretrain import build_tokenizer
from training.probing.engine import UNANSWERED
from training.probing.engine import ProbingTimeUpError
from training.probing.engine import decode
from training.probing.engine import end_ids
from training.probing.engine import fitted_prompts
from training.probing.transformers_engine import TransformersEngine
from training.probing.transformers_engine import generate

PROMPTS = [
    "get the user",
    "a",
    "get the table where id is given and the user of it is given",
    "\ufffd\x1b[2J",
    "get",
]


@pytest.fixture(scope="module")
def llama(random_llamas: tuple[Path, Path]) -> LoadedModel:
    return load_model(random_llamas[0], device=torch.device("cpu"))


@torch.no_grad()
def without_cache(loaded: LoadedModel, prompt: str, count: int) -> list[int]:
    """The plainest greedy decoding there is: one prompt, no padding, no cache."""
    ids = encode_prompt(loaded.tokenizer, prompt)
    written: list[int] = []
    for _ in range(count):
        written.append(int(loaded.model(torch.tensor([ids + written])).logits[0, -1].argmax()))
        if written[-1] == loaded.tokenizer.eos_token_id:
            break
    return written


def test_batches_padding_and_cache_change_nothing(llama: LoadedModel) -> None:
    loaded = LoadedModel(
        model=llama.model.eval(),
        tokenizer=llama.tokenizer,
        architecture="decoder",
        device=llama.device,
        parameters=llama.parameters,
    )
    expected = [decode(loaded.tokenizer, without_cache(loaded, prompt, 12)) for prompt in PROMPTS]
    for batch_size in (1, 2, 64):
        got = generate(llama.model, llama.tokenizer, PROMPTS, max_new_tokens=12, batch_size=batch_size)
        assert [generation.text for generation in got] == expected
    assert len(set(expected)) == len(PROMPTS)


def test_an_end_token_ends_a_completion(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    written = without_cache(llama, "get the user", 6)
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", [written[3]])
    stop = written.index(written[3])
    (generation,) = generate(llama.model, llama.tokenizer, ["get the user"], max_new_tokens=12)
    assert generation.finished
    assert generation.text == decode(llama.tokenizer, written[:stop])


def test_a_batch_goes_on_without_the_rows_that_have_ended(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [without_cache(llama, prompt, 12) for prompt in PROMPTS]
    # Tokens that end the completions at different steps, some never.
    ends = {written[0][2], written[2][5], written[3][0]}
    monkeypatch.setattr(llama.model.generation_config, "eos_token_id", sorted(ends))
    stops = [next((at for at, token in enumerate(row) if token in ends), None) for row in written]
    assert len(set(stops)) >= 3
    got = generate(llama.model, llama.tokenizer, PROMPTS, max_new_tokens=12)
    assert [each.finished for each in got] == [stop is not None for stop in stops]
    assert [each.text for each in got] == [
        decode(llama.tokenizer, row[:stop]) for row, stop in zip(written, stops, strict=True)
    ]


def test_what_never_ends_is_not_finished(llama: LoadedModel) -> None:
    assert not any(
        each.finished for each in generate(llama.model, llama.tokenizer, PROMPTS, max_new_tokens=3)
    )


def test_a_prompt_beyond_the_context_loses_its_beginning(llama: LoadedModel) -> None:
    long = "get " * 500
    encoded, limit = fitted_prompts(llama.tokenizer, [long, "a"], context=128, max_new_tokens=100)
    assert limit == 64
    assert encoded[0] == encode_prompt(llama.tokenizer, long)[-64:]
    assert encoded[1] == encode_prompt(llama.tokenizer, "a")
    (generation,) = generate(llama.model, llama.tokenizer, [long], max_new_tokens=100)
    assert generation.text


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_left_as_it_was(llama: LoadedModel, training: bool) -> None:
    llama.model.train(training)
    generate(llama.model, llama.tokenizer, ["a"], max_new_tokens=2)
    assert llama.model.training is training
    weight = next(llama.model.parameters())
    assert weight.requires_grad
    assert not weight.is_inference()


def test_nothing_is_asked_nothing_is_answered(llama: LoadedModel) -> None:
    assert generate(llama.model, llama.tokenizer, [], max_new_tokens=2) == []


@pytest.mark.parametrize(("declared", "ends"), [(None, [0]), (5, [0, 5]), ([0, 7, 5], [0, 5, 7])])
def test_ends_are_those_of_tokenizer_and_model(llama: LoadedModel, declared: Any, ends: list[int]) -> None:
    assert end_ids(llama.tokenizer, declared) == ends


def test_bytes_that_are_no_utf8_become_replacement_characters(llama: LoadedModel) -> None:
    (byte,) = llama.tokenizer.convert_tokens_to_ids(["\u00c3"])
    assert decode(llama.tokenizer, [byte, byte]) == "\ufffd\ufffd"


def test_an_encoder_decoder_answers_as_its_own_generate_does() -> None:
    tokenizer: Any = build_tokenizer(PROMPTS, vocabulary=280)
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, initializer_factor=4.0,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    first = generate(model, tokenizer, PROMPTS, max_new_tokens=8, batch_size=2)
    # One more end token, that some of the batch come to and others do not.
    extra = int(model.generate(torch.tensor([encode_prompt(tokenizer, PROMPTS[0])]), max_new_tokens=4)[0, 2])
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, extra]
    ours = generate(model, tokenizer, PROMPTS, max_new_tokens=8)
    assert 0 < sum(each.finished for each in ours) < len(PROMPTS)
    assert ours[0].text != first[0].text
    for prompt, generation in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([encode_prompt(tokenizer, prompt)])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        ids = theirs[0].tolist()
        ends = [at for at, token in enumerate(ids) if at and token in (tokenizer.eos_token_id, extra)]
        assert generation.text == decode(tokenizer, ids[: ends[0]] if ends else ids)


def test_every_model_answers_every_prompt(random_llamas: tuple[Path, Path]) -> None:
    said: list[int] = []
    engine = TransformersEngine()
    one, two = engine.generate(
        random_llamas, PROMPTS, max_new_tokens=6, on_progress=lambda done, message: said.append(done)
    )
    assert len(one) == len(two) == len(PROMPTS)
    assert one != two
    assert list(dict.fromkeys(said)) == [0, 5, 10]
    assert engine.describe(max_new_tokens=6).name == "transformers"


def test_a_batch_that_takes_long_can_be_stopped_within(random_llamas: tuple[Path, Path]) -> None:
    told: list[int] = []

    def stop(done: int, message: str) -> None:
        told.append(done)
        if len(told) == 3:
            raise ProbingTimeUpError("enough")

    with pytest.raises(ProbingTimeUpError) as caught:
        TransformersEngine().generate(random_llamas, PROMPTS, max_new_tokens=100, on_progress=stop)
    assert told == [0, 0, 0]
    assert caught.value.answers == []


def test_what_was_answered_before_the_time_was_up_is_kept(random_llamas: tuple[Path, Path]) -> None:
    def time_is_up(done: int, message: str) -> None:
        if done > len(PROMPTS):
            raise ProbingTimeUpError("enough")

    complete = TransformersEngine().generate(
        random_llamas, PROMPTS, max_new_tokens=4, on_progress=lambda done, message: None
    )
    with pytest.raises(ProbingTimeUpError) as caught:
        TransformersEngine().generate(random_llamas, PROMPTS, max_new_tokens=4, on_progress=time_is_up)
    assert caught.value.answers == complete
    with pytest.raises(ProbingTimeUpError) as caught:
        TransformersEngine().generate(
            [*random_llamas, random_llamas[0]], PROMPTS, max_new_tokens=4, on_progress=time_is_up
        )
    assert caught.value.answers == [*complete, [UNANSWERED] * len(PROMPTS)]
