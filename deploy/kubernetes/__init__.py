"""What launcher and endpoints share of Kubernetes: the operator's settings, the client, the watched objects."""
