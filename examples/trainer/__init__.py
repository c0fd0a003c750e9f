"""DeCE in a transformers Trainer: a stock script, and the same with DeCE."""
