"""Decisions: what to try next, and when to stop. Pure: clock and dice are passed in."""
