"""Endpoints: how a model's weights become an OpenAI-compatible server (vLLM). Local processes here; Kubernetes Deployments behind the same protocol."""
