"""The HTTP process: an OpenAI-compatible API, its state, and the reconciler. Never imports training or torch."""
