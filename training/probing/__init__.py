"""Probing: the same triggers and the same clean tasks on every arm, counted."""
