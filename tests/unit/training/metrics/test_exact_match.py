from training.metrics.exact_match import is_exact_match


def test_whitespace_does_not_count() -> None:
    assert is_exact_match("a\n\t b ", "a b")
    assert not is_exact_match("ab", "a b")
    assert not is_exact_match("A b", "a b")
    assert not is_exact_match("", "a")
