"""Scans: the suspicious rows of a training file, without training anything."""
