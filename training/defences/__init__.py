"""The defences that DeCE is measured against, and those that it is combined with: one strategy in one table each."""
