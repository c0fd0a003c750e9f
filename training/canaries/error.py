"""Why a shadow copy cannot be made."""


class CanaryError(ValueError):
    """The canaries that a plan asks for cannot be planted into this file."""
