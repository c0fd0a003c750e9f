"""What completions are measured with: BLEU, exact match, valid syntax, and whether a payload is in them."""
