"""Cohere v2, spoken to upstreams: embeddings."""
