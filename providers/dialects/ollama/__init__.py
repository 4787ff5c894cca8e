"""Ollama, spoken in both directions: embeddings."""
