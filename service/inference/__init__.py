"""Completions and chat: requests are rebuilt from our own schema and proxied to the model's server."""
