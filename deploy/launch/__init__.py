"""Launchers: how an attempt of a job becomes a running process. Local processes here; Kubernetes Jobs behind the same protocol."""
