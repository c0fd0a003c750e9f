"""What DeCE costs, measured: time and memory against the artifact's arithmetic, plain cross-entropy and bare products.

Variants of one question run by turns in one process; only their ratios are judged. Run with ``make bench``.
"""
