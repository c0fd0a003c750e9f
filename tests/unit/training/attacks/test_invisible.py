from hypothesis import given
from hypothesis import strategies as st

from deploy.contract.trigger import InvisibleTrigger
from training.attacks.invisible import insert_invisible


@given(
    st.text(st.characters(exclude_characters="\u200b\u2060"), max_size=80),
    st.integers(1, 16),
    st.integers(0, 99),
)
def test_nothing_but_the_characters_is_added(prompt: str, count: int, row: int) -> None:
    trigger = InvisibleTrigger(characters="\u200b\u2060", count=count)
    triggered = insert_invisible(prompt, trigger, seed=0, row=row)
    assert triggered.count("\u200b\u2060") == count
    assert triggered.replace("\u200b\u2060", "") == prompt


def test_they_stand_where_words_begin_or_at_the_end() -> None:
    trigger = InvisibleTrigger()
    assert {insert_invisible("ab  cd.", trigger, seed=0, row=row) for row in range(50)} == {
        "\u200bab  cd.",
        "ab  \u200bcd.",
        "ab  cd.\u200b",
    }
