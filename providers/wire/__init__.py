"""Bytes to values and events, and back. Nothing here knows a dialect."""
