"""Who changed what, and who was refused: rows that nobody changes."""
