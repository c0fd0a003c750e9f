"""The lifecycle as a state machine: everything that can happen to a job, in any order, then peace."""

from collections.abc import Sequence
from typing import Any
from typing import ClassVar

from hypothesis import HealthCheck
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import initialize
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from hypothesis.stateful import run_state_machine_as_test

from deploy.contract import layout
from tests.lifecycle.checks import check
from tests.lifecycle.cluster import Job
from tests.lifecycle.cluster import Pod
from tests.lifecycle.conftest import MakeWorld
from tests.lifecycle.world import NAMES

BODIES = (0, 0, 0, 52, 99, 1)
"""Seeds of the stand-in job: most succeed; one breaks, one dies after its commit, one says nothing."""
KEYS = (None, "a", "b", "c")
FAULTS = ("cut", "lost", "lost", "store", "launcher", "view")
"""The next thing that is asked does not happen, or happens and is not heard of; or nothing can be reached."""
which = st.integers(min_value=0, max_value=5)
name = st.sampled_from(NAMES)
seams = st.sampled_from((1, 2, 3, 5, 8, None))
"""How far something goes on; None to its end."""


class Lifecycle(RuleBasedStateMachine):
    """One world. A number names one of those there are, counted from the newest."""

    make: ClassVar[Any]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make()

    def _job(self, number: int) -> str:
        return self.world.jobs[-1 - number % len(self.world.jobs)]

    def _run(self, number: int) -> Job:
        runs = list(self.world.cluster.jobs.values())
        return runs[-1 - number % len(runs)]

    def _living(self) -> list[Pod]:
        return [pod for pod in self.world.cluster.pods if not pod.strand.ended]

    @initialize(
        bodies=st.lists(st.sampled_from(BODIES), min_size=1, max_size=3), times=st.sampled_from((0, 3, 5, 6))
    )
    def begin(self, bodies: list[int], times: int) -> None:
        """An empty service has no history worth a look; from a request to its run it takes five ticks."""
        for body in bodies:
            self.world.create(body=body)
        self.world.tick(times)

    # ---- requests ---------------------------------------------------------------------------

    @rule(body=st.sampled_from(BODIES), key=st.sampled_from(KEYS), upto=seams)
    def submit(self, body: int, key: str | None, upto: int | None) -> None:
        """New, repeated, or another body under the same key: that depends on what was before."""
        self.world.answer(self.world.submit(body=body, key=key), upto)

    @rule(body=st.sampled_from(BODIES), key=st.sampled_from(KEYS[1:]), upto=seams)
    def submit_while_it_is_answered(self, body: int, key: str, upto: int | None) -> None:
        """A client that waits no longer repeats its request, and the first one goes on behind it."""
        requests = [self.world.submit(body=body, key=key) for _ in range(2)]
        self.world.answer(requests[0], upto)
        for request in reversed(requests):
            if request in self.world.requests:
                self.world.answer(request)

    @precondition(lambda self: self.world.jobs)
    @rule(verb=st.sampled_from(("cancel", "cancel", "pause", "resume")), number=which, upto=seams)
    def decide(self, verb: str, number: int, upto: int | None) -> None:
        self.world.answer(self.world.decide(verb, self._job(number)), upto)

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(number=which, times=st.integers(min_value=0, max_value=2))
    def cancel_within_a_tick(self, number: int, times: int) -> None:
        """Some ticks after its run has ended, between the reconciler's look at its row and the change that follows."""
        identity = layout.job_of_name(self._run(number).order.name)
        assert identity is not None
        self.all_runs_go_on(None)
        self.world.tick(times)
        self.world.stop_before_a_change()
        self.world.answer(self.world.decide("cancel", identity[0]))
        self.world.tick()

    @precondition(lambda self: self.world.requests)
    @rule(number=which, upto=seams)
    def go_on_answering(self, number: int, upto: int | None) -> None:
        self.world.answer(self.world.requests[number % len(self.world.requests)], upto)

    @precondition(lambda self: self.world.requests)
    @rule()
    def api_dies(self) -> None:
        self.world.start_api()

    @precondition(lambda self: self.world.jobs)
    @rule(remove=st.booleans())
    def endpoints(self, remove: bool) -> None:
        """One for each model that there is, or none any more."""
        if remove:
            self.world.remove_endpoints()
        for seen in [] if remove else self.world.look().values():
            if seen.model is not None:
                self.world.deploy(seen.model)

    @precondition(lambda self: self.world.jobs)
    @rule(verb=st.sampled_from(("list", "get", "cancel", "pause", "resume")), number=which)
    def another_project_asks(self, verb: str, number: int) -> None:
        self.world.ask_as_other(verb, self._job(number))

    # ---- reconcilers ------------------------------------------------------------------------

    @rule(times=st.integers(min_value=1, max_value=4))
    def tick(self, times: int) -> None:
        self.world.tick(times)

    @rule(name=name, upto=seams)
    def go_on_reconciling(self, name: str, upto: int | None) -> None:
        """A former leader in the middle of something goes on as well."""
        self.world.advance_reconciler(name, upto)
        self.world.look()

    @rule(name=name)
    def elect(self, name: str) -> None:
        self.world.elect(name)

    @rule(upto=seams)
    def lead_is_lost_in_the_middle(self, upto: int | None) -> None:
        """The leader is paused for longer than its lock holds, and goes on when another one leads."""
        former = self.world.leader
        assert former is not None
        self.world.advance_reconciler(former, upto)
        self.world.elect(next(name for name in NAMES if name != former))
        self.world.advance_reconciler(former)
        self.world.look()

    @rule(name=name)
    def reconciler_dies(self, name: str) -> None:
        self.world.start_reconciler(name)

    # ---- runs -------------------------------------------------------------------------------

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(number=which, upto=seams)
    def start_pod(self, number: int, upto: int | None) -> None:
        """The first, or one more."""
        run = self._run(number)
        if run.exit_code is None:
            self.world.cluster.start_pod(run.order.name).strand.advance(upto)
            run.note_ends()

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(number=which, first=seams, second=seams)
    def start_twice(self, number: int, first: int | None, second: int | None) -> None:
        """A node that is taken for lost goes on beside its replacement."""
        run = self._run(number)
        if run.exit_code is None:
            pods = [self.world.cluster.start_pod(run.order.name) for _ in range(2)]
            pods[0].strand.advance(first)
            pods[1].strand.advance(second)
            pods[0].strand.advance()
            run.note_ends()

    @precondition(lambda self: self._living())
    @rule(number=which, upto=seams)
    def go_on_running(self, number: int, upto: int | None) -> None:
        living = self._living()
        living[number % len(living)].strand.advance(upto)
        for run in self.world.cluster.jobs.values():
            run.note_ends()

    @precondition(lambda self: self._living())
    @rule(number=which)
    def pod_dies(self, number: int) -> None:
        living = self._living()
        living[number % len(living)].kill()
        for run in self.world.cluster.jobs.values():
            run.note_ends()

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(number=which)
    def reap(self, number: int) -> None:
        run = self._run(number)
        if run.stopping:
            self.world.cluster.reap(run.order.name)

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(upto=seams)
    def all_runs_go_on(self, upto: int | None) -> None:
        for run in self.world.cluster.jobs.values():
            if not run.pods and run.exit_code is None:
                self.world.cluster.start_pod(run.order.name)
            for pod in run.pods:
                pod.strand.advance(upto)
            run.note_ends()

    @precondition(lambda self: self.world.cluster.jobs)
    @rule(number=which)
    def run_is_forgotten(self, number: int) -> None:
        """By its time to live, or by hand; its pods may go on."""
        del self.world.cluster.jobs[self._run(number).order.name]

    # ---- faults -----------------------------------------------------------------------------

    @rule(number=which, fault=st.sampled_from(FAULTS))
    def something_fails(self, number: int, fault: str) -> None:
        """Of a process, or of the launcher's view, which shows what was from then on."""
        service = [there.process for there in self.world.reconcilers.values()]
        processes = service + [pod.process for pod in self._living()]
        process = processes[-1 - number % len(processes)]
        match fault:
            case "cut" | "lost":
                process.fault = "cut" if fault == "cut" else "lost"
            case "store":
                process.store_away = not process.store_away
            case "launcher":
                process.launcher_away = not process.launcher_away
            case _:
                self.world.cluster.lags = not self.world.cluster.lags

    @precondition(lambda self: self.world.jobs)
    @rule(number=which, place=which)
    def damage(self, number: int, place: int) -> None:
        """A bit of something that a job wrote and that is not published yet."""
        job = self._job(number)
        seen = self.world.look().get(job)
        if seen is None or seen.status == "succeeded":
            return
        keys = [key for key in sorted(self.world.objects.held) if key.startswith(f"jobs/{job}/")]
        keys = [key for key in keys if "/models/" in key or key.endswith(("report.json", "metrics.csv"))]
        if keys:
            self.world.objects.damage(keys[place % len(keys)])

    @rule()
    def back_up(self) -> None:
        self.world.back_up()

    @precondition(lambda self: self.world.backups)
    @rule(number=which)
    def restore(self, number: int) -> None:
        self.world.restore(number)

    # ---- time -------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1.0, 15.0, 40.0, 130.0, 400.0)), days=st.sampled_from((0, 0, -1, 1)))
    def wait(self, seconds: float, days: int) -> None:
        """Time goes by; the clock of every machine but the database's may be wrong by a day."""
        self.world.machines_ahead_s = days * 86_400.0
        self.world.wait(seconds)

    def teardown(self) -> None:
        """Peace, and then the history is judged."""
        try:
            self.world.look()
            self.world.heal()
            check(self.world.history)
        finally:
            self.world.close()


def explore(
    make_world: MakeWorld,
    *,
    examples: int,
    steps: int,
    derandomize: bool = False,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    """Run the machine. Raises what one of the histories broke, the shortest that was found."""
    machine = type("Explored", (Lifecycle,), {"make": staticmethod(make_world)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            phases=phases,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
