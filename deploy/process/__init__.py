"""Supervised child processes: each ends with its service, with all its children, and says how it ended."""
