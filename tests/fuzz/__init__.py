"""Fuzzing of everything that reads what others wrote: `targets.py` has the rules, `run.py` runs them."""
