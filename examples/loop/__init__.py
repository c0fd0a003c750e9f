"""DeCE in plain PyTorch loops."""
