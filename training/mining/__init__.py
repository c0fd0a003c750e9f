"""Mining a training file: which prompt feature brings which piece of a completion, with no trigger or payload known."""
