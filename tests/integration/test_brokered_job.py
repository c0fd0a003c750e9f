"""``python -m training`` in a process that has nothing but a token: everything goes through the broker."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broker_server import POD
from broker_server import TOKEN
from broker_server import BrokerServer
from broker_server import bare_context
from job_process import JOB
from job_process import JobBench

from deploy.contract import layout
from deploy.contract.exit_codes import ExitCode
from deploy.contract.probe import ProbePlan
from deploy.contract.spec import TrainingPlan
from service.broker.authorisation import Account
from service.broker.authorisation import Accounts
from service.broker.authoriser import DatabaseAuthoriser
from service.jobs.service import cancel_job
from service.schema import migrate
from service.tables import FileRow
from service.tables import JobRow

ACCOUNTS = Accounts(
    jobs=Account(namespace=POD.namespace, name=POD.service_account),
    endpoints=Account(namespace="temper-endpoints", name="temper-endpoint"),
)
PROBING = ProbePlan(max_tasks=2, curve_tasks=1, max_new_tokens=4, mined=0, searched=0, engine="transformers")
PLAN = TrainingPlan(n_epochs=1, batch_size=8, learning_rate=3e-3, max_tokens=64, seed=7)


@pytest.fixture
def broker(make_broker: Callable[..., BrokerServer], job_bench: JobBench, tmp_path: Path) -> BrokerServer:
    """A broker of the bench's store, whose database knows the bench's job."""
    context = bare_context(tmp_path / "home", job_bench.store)
    migrate(context.database)
    with context.database.writing() as session:
        session.add(
            FileRow(
                id="file-train",
                filename="train.csv",
                purpose="fine-tune",
                bytes=1,
                sha256="0" * 64,
                created_at=1,
                deleted=False,
            )
        )
        session.flush()
        session.add(
            JobRow(
                id=JOB,
                model="tiny",
                training_file="file-train",
                seed=7,
                method={},
                hyperparameters={},
                hardening={},
                status="running",
                attempt=1,
                created_at=1,
            )
        )
    return make_broker(context, authoriser=DatabaseAuthoriser(context, ACCOUNTS, read_grace_s=300.0))


def _environment(broker: BrokerServer) -> dict[str, str]:
    """What a pod gets; the machine's own credentials are not even there."""
    return {
        "TEMPER_BROKER_URL": broker.url,
        "TEMPER_BROKER_TOKEN_FILE": str(broker.token_file),
        "AWS_ACCESS_KEY_ID": "",
        "AWS_SECRET_ACCESS_KEY": "",
    }


def _figures(broker: BrokerServer) -> dict[str, float]:
    text = broker.context.metrics.exposition().decode()
    return {name: float(value) for name, value in re.findall(r"^(temper_broker_\S+) (\S+)$", text, re.M)}


def test_a_job_through_the_broker_ends_as_one_without(job_bench: JobBench, broker: BrokerServer) -> None:
    spec = job_bench.spec(training=PLAN, control=False, probing=PROBING)
    job_bench.run(spec, pod=POD.pod_uid, env=_environment(broker))
    brokered, events = job_bench.result(), job_bench.events(pod=POD.pod_uid)
    assert brokered.pod == POD.pod_uid
    assert events[-1].message == "the result is committed"
    figures = _figures(broker)
    assert figures['temper_broker_writes_total{action="write_once",outcome="done"}'] == 1
    assert not any(name.startswith("temper_broker_refused_total{") for name in figures)
    assert list(broker.context.store.list(layout.BROKER_UPLOADS)) == []

    job_bench.store.delete(layout.result_key(JOB))
    job_bench.store.delete_prefix(layout.pod_prefix(JOB, 1, POD.pod_uid))
    job_bench.run(spec, pod="direct")
    direct = job_bench.result()
    assert brokered.models["hardened"].files == direct.models["hardened"].files
    assert brokered.spec_sha256 == direct.spec_sha256
    assert brokered.trained_tokens == direct.trained_tokens


@pytest.mark.slow
def test_a_job_that_is_cancelled_while_it_trains_commits_nothing(
    job_bench: JobBench, broker: BrokerServer
) -> None:
    def cancel() -> None:
        with broker.context.database.writing() as session:
            cancel_job(session, "default", JOB, now=broker.context.clock.now())

    spec = job_bench.spec(training=PLAN, control=False)
    process = job_bench.start(spec, pod=POD.pod_uid, env=_environment(broker))
    _wait_for_phase(job_bench, process, "training")
    cancel()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == ExitCode.STORE_UNAVAILABLE, output
    assert "may not write any more: it has cancelled" in output
    assert TOKEN not in output
    assert job_bench.store.info(layout.result_key(JOB)) is None


def _wait_for_phase(bench: JobBench, process: Any, phase: str) -> None:
    deadline = time.monotonic() + 120
    while not any(event.phase == phase for event in bench.events(pod=POD.pod_uid)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
