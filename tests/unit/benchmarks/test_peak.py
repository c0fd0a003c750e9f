"""Peak memory in a real child."""

import pytest

from benchmarks.head import HeadShape
from benchmarks.peak import PeakError
from benchmarks.peak import peak_in_child

SHAPE = HeadShape(rows=1024, hidden=8, classes=8192)


def test_the_artifact_holds_several_whole_logits_and_ours_a_chunk() -> None:
    whole = SHAPE.rows * SHAPE.classes * 4
    theirs, ours = peak_in_child("artifact", SHAPE), peak_in_child("DeCE, native", SHAPE)
    assert 5 * whole < theirs < 10 * whole
    # The chunk is as large as the whole here: rows_per_chunk would take 1,024 rows of 8,192 classes.
    assert 0.9 * whole < ours < 1.7 * whole


def test_a_child_that_fails_says_why() -> None:
    with pytest.raises(PeakError, match="invalid choice"):
        peak_in_child("no such variant", SHAPE)
