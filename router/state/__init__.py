"""Counters and memories that calls share. Local to the process."""
