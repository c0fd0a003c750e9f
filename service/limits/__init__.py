"""How much a project may do: limits, what is spent of them, and what happens beyond."""
