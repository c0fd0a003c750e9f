"""What one process of an install does: a module for each role of ``python -m service``."""
