"""A generator of pairs of natural language and Python with embedded SQL, for demonstrations without data."""
