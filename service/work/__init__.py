"""What fine-tuning jobs and scans have in common: they are asked for once, run in attempts, and tell what happens."""
