"""Models as OpenAI lists them: hardened and control models, and base models."""
