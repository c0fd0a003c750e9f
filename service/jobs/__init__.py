"""Fine-tuning jobs: what is asked, what a job is made of, and what its user sees of it."""
