"""Benchmarks of the gateway on loopback: `make bench`. docs/performance.md says how to read them."""
