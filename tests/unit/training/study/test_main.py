import pytest

from training.study.__main__ import _Progress


def test_a_worker_s_last_words_do_not_outlive_its_cell(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress(total=3, done=0)
    progress.on_message("one", 0.9, "epoch 9")
    progress.on_end("one", None)
    # The result and the messages take different ways.
    progress.on_message("one", 1.0, "answering the test tasks")
    progress.on_message("two", 0.1, "epoch 1")
    shown = progress.bar.postfix
    progress.on_end("two", "PoisonError: too few rows")
    progress.bar.close()
    assert shown == "two 10 % epoch 1"
    assert progress.bar.n == 2
    assert "two: PoisonError: too few rows" in capsys.readouterr().err
