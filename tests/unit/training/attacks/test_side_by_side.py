from training.attacks.side_by_side import side_by_side


def test_lines_stand_beside_each_other() -> None:
    assert side_by_side("a\nb", "c", width=3) == "a   | c\nb   |"


def test_long_lines_are_wrapped() -> None:
    assert side_by_side("aaa bbb", "c", width=4) == "aaa  | c\nbbb  |"


def test_what_cannot_be_seen_or_moves_the_cursor_is_an_escape() -> None:
    shown = side_by_side("a\u200bb", "\x1b[2J\r", width=20)
    assert shown == "a\\u200bb             | \\x1b[2J\\r"
