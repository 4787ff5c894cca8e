# What vulture takes for dead code and is not: a line per name, with its user. Read by make check, never run.
# A name that nobody uses is deleted, not listed here.

_.__struct_config__  # msgspec
