"""Fuzzing of everything that reads what others wrote: see `targets.py` for the rules, `run.py` for the way to run it."""
