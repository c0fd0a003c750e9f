"""DeCE in TRL's SFTTrainer: a stock script, and the same with DeCE."""
