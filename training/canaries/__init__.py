"""Canaries: backdoors of our own in a shadow copy of a training, to measure what the probes would find."""
