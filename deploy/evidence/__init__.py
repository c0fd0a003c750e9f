"""The chain of evidence of a hardened model: what it was made of, by whom, what was measured, and whether that holds."""
