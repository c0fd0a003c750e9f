"""Evidence of hardened models: written when a result has been verified, before anybody is told that it succeeded."""
