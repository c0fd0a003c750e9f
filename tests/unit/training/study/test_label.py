from deploy.contract.report import Hits
from training.study.label import percent


def test_a_rate_has_its_interval_and_no_trial_is_a_dash() -> None:
    assert percent(Hits(hits=1, trials=10)) == "10.0 [1.8, 40.4]"
    assert percent(Hits(hits=3, trials=30), seeds=3) == "10.0 [1.8, 40.4]"
    assert percent(Hits(hits=0, trials=0, unscorable=5)) == "\N{EN DASH}"
