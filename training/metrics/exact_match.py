"""Whether a completion is its reference, whitespace aside."""


def is_exact_match(completion: str, reference: str) -> bool:
    """Compare the whitespace-separated tokens."""
    return completion.split() == reference.split()
