"""What talks to a running service from outside. Needs the standard library alone: no server, no torch."""
