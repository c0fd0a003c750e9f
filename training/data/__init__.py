"""From rows to batches: tokenising, supervision masks, deterministic order, dynamic padding."""
