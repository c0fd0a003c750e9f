"""Which way a model is shared, and that a sharded one that was never whole is the same model.

A process group of one process: its collectives are real, its shards are whole. Several are in the slow lane.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from deploy.contract.dataset import Row
from deploy.contract.exit_codes import ExitCode
from deploy.contract.method import CrossEntropyLoss
from deploy.contract.spec import Lora
from deploy.contract.spec import TrainingPlan
from training.checkpoints import gather
from training.curve import answer
from training.data.example import encode_rows
from training.errors import InvalidInput
from training.errors import PlatformFault
from training.fresh_run import fresh_run
from training.fresh_run import save_run
from training.loop import Run
from training.loop import Watchers
from training.loop import train
from training.losses import build_loss
from training.model import load_model
from training.model import load_skeleton
from training.parallel import Alone
from training.parallel import Ranks
from training.parallel import Together
from training.sharding import choose_sharding
from training.sharding import device_bytes

CPU = torch.device("cpu")
PLAN = TrainingPlan(n_epochs=1, batch_size=8, learning_rate=1e-3, max_tokens=64, seed=7)
GIB = 2**30


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


@pytest.fixture
def ranks() -> Together:
    return Together("ddp", device=CPU)


def test_what_fits_is_replicated(tiny_decoder_dir: Path, ranks: Together) -> None:
    choice = choose_sharding(tiny_decoder_dir, PLAN, ranks, wanted="auto", here_bytes=80 * GIB)
    assert choice.sharding == "ddp"
    assert choice.device_bytes == 80 * GIB
    assert "the model is replicated (ddp): estimated per rank" in choice.said
    assert "the smallest device has 80.0 GiB" in choice.said


def test_what_does_not_fit_is_sharded_as_long_as_a_share_fits(
    tiny_decoder_dir: Path, ranks: Together
) -> None:
    """A share of one rank is everything, so there is no size at which only the share fits; the refusal is told."""
    with pytest.raises(PlatformFault, match="take more or larger devices") as raised:
        choose_sharding(tiny_decoder_dir, PLAN, ranks, wanted="auto", here_bytes=1 << 20)
    assert raised.value.exit_code == ExitCode.OUT_OF_MEMORY
    assert "sharded (fsdp)" in raised.value.message


@pytest.mark.parametrize("wanted", ["ddp", "fsdp"])
def test_the_operator_may_know_better(tiny_decoder_dir: Path, ranks: Together, wanted: str) -> None:
    choice = choose_sharding(tiny_decoder_dir, PLAN, ranks, wanted=wanted, here_bytes=1 << 20)  # type: ignore[arg-type]
    assert choice.sharding == wanted
    assert "as the operator wants it" in choice.said


def test_an_adapter_needs_less(tiny_decoder_dir: Path, ranks: Together) -> None:
    plan = PLAN.model_copy(update={"adapter": Lora(rank=2)})
    whole = choose_sharding(tiny_decoder_dir, PLAN, ranks, wanted="ddp", here_bytes=GIB)
    adapter = choose_sharding(tiny_decoder_dir, plan, ranks, wanted="ddp", here_bytes=GIB)
    assert adapter.ddp_bytes < whole.ddp_bytes


def test_ranks_of_a_node_share_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = device_bytes(CPU, local_ranks=1)
    assert device_bytes(CPU, local_ranks=4) == one // 4
    limit = tmp_path / "memory.max"
    limit.write_text(f"{1 << 28}\n")
    monkeypatch.setattr("training.sharding.CGROUP_LIMIT", limit)
    assert device_bytes(CPU, local_ranks=2) == 1 << 27
    limit.write_text("max\n")
    assert device_bytes(CPU, local_ranks=1) == one


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_what_the_first_rank_tells_is_heard(
    ranks: Together, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("training.parallel.PIECE_BYTES", 64)
    data = bytes(at % 251 for at in range(size))
    assert ranks.tell(data) == data
    assert ranks.least(7) == 7
    assert ranks.sum([1.5, 2.0]) == [1.5, 2.0]


def trained(directory: Path, rows: list[Row], ranks: Ranks, plan: TrainingPlan) -> Run:
    run = fresh_run(directory, plan, ranks, threads=1)
    examples = encode_rows(run.loaded.tokenizer, rows, max_tokens=plan.max_tokens).examples
    watchers = Watchers(on_metrics=lambda metrics: None, on_epoch=lambda run, epoch: None)
    loss = build_loss(CrossEntropyLoss(), device=CPU)
    train(run, examples, loss=loss, plan=plan, watchers=watchers)
    return run


# T5 hands its position bias from block to block as a view; nothing is ever added to it in place.
@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module .FSDPT5Block. returned a view tensor")
@pytest.mark.parametrize("adapter", [None, Lora(rank=2)])
@pytest.mark.parametrize("kind", ["decoder", "encoder_decoder"])
def test_a_sharded_model_that_was_never_whole_is_the_same_model(
    request: pytest.FixtureRequest, tiny_rows: list[Row], tmp_path: Path, kind: str, adapter: Lora | None
) -> None:
    directory: Path = request.getfixturevalue(f"tiny_{kind}_dir")
    plan = PLAN.model_copy(update={"adapter": adapter})
    alone = trained(directory, tiny_rows[:16], Alone(), plan)
    sharded = trained(directory, tiny_rows[:16], Together("fsdp", device=CPU), plan)
    prompts = [row.prompt for row in tiny_rows[:4]]
    assert answer(sharded, prompts, max_new_tokens=6) == answer(alone, prompts, max_new_tokens=6)
    weights, moments = gather(sharded)
    expected, expected_moments = gather(alone)
    assert weights.keys() == expected.keys()
    assert moments.keys() == expected_moments.keys()
    for name, weight in expected.items():
        assert torch.allclose(weights[name], weight, atol=1e-5), name
    save_run(alone, plan, directory, tmp_path / "alone")
    save_run(sharded, plan, directory, tmp_path / "sharded")
    files = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("alone", "sharded")]
    assert files[0] == files[1]
    models = [load_model(tmp_path / name).model.state_dict() for name in ("alone", "sharded")]
    for name, weight in models[0].items():
        assert torch.allclose(models[1][name], weight, atol=1e-5), name


def test_evaluation_leaves_a_sharded_model_ready_to_train(
    tiny_decoder_dir: Path, tiny_rows: list[Row]
) -> None:
    """After an epoch's answers the weights are shards again, the optimizer's very own."""
    run = fresh_run(tiny_decoder_dir, PLAN, Together("fsdp", device=CPU), threads=1)
    before = {name: id(weight) for name, weight in run.loaded.model.named_parameters()}
    answer(run, [tiny_rows[0].prompt], max_new_tokens=2)
    assert {name: id(weight) for name, weight in run.loaded.model.named_parameters()} == before
    owned = {id(weight) for group in run.optimizer.param_groups for weight in group["params"]}
    assert set(before.values()) == owned


def test_a_model_that_is_not_what_its_configuration_says_is_refused(tiny_decoder_dir: Path) -> None:
    """Other ranks make room by the configuration: they must not wait for bytes that never come."""
    skeleton = load_skeleton(tiny_decoder_dir, device=CPU, dtype=torch.float32)
    source = load_model(tiny_decoder_dir, dtype=torch.bfloat16)
    with pytest.raises(InvalidInput, match=r"cannot be sharded: .*bfloat16") as raised:
        Together("fsdp", device=CPU).wrap(skeleton.model, source.model)
    assert raised.value.exit_code == ExitCode.UNSUPPORTED
