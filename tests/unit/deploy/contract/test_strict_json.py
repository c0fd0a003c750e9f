import contextlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.contract import strict_json
from deploy.contract.strict_json import StrictJsonError


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a":1,"a":2}', "duplicate_key"),
        ('{"a":{"b":1,"c":2,"b":1}}', "duplicate_key"),
        ("NaN", "not_a_number"),
        ("[-Infinity]", "not_a_number"),
        ("1e999", "not_a_number"),
        ("-1e999", "not_a_number"),
        ("9" * 5000, "not_a_number"),
        ("[" * 100_000, "nested_too_deeply"),
        ('{"a":' * 100_000, "nested_too_deeply"),
        ("", "invalid_json"),
        ("{'a':1}", "invalid_json"),
        ('{"a":1} {"b":2}', "invalid_json"),
        ('"a\nb"', "invalid_json"),
    ],
)
def test_refuses(text: str, code: str) -> None:
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(text)
    assert caught.value.code == code


@pytest.mark.parametrize("text", ['{"a":', '{"a', '{"a":1', '["x', "[1,"])
def test_tells_where_text_stopped_early(text: str) -> None:
    with pytest.raises(StrictJsonError) as caught:
        strict_json.parse(text)
    assert caught.value.at_end


def test_negative_zero_is_no_integer() -> None:
    value = strict_json.parse("-0")
    assert type(value) is float
    assert math.copysign(1, value) == -1


def test_lone_surrogates_are_found() -> None:
    assert strict_json.lone_surrogate(strict_json.parse('"a\\udc80"')) == "\\udc80"
    assert strict_json.lone_surrogate(strict_json.parse('"\\ud83d\\ude00"')) is None


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_values)
def test_reads_what_json_writes(value: object) -> None:
    assert strict_json.parse(json.dumps(value)) == value


@given(st.text(alphabet='{}[]",:\\\\ue019.-NaInfity \n', max_size=60))
def test_never_raises_anything_else(text: str) -> None:
    with contextlib.suppress(StrictJsonError):
        strict_json.parse(text)
