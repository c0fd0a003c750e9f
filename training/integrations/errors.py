"""Why a loss cannot stand in for a trainer's own. All are mistakes of a program, never of its data.

IntegrationError
├── UnsupportedModel      the model's labels are not one class a row
├── UnsupportedSetting    a setting of the trainer would be ignored, or would change the loss silently
└── NotAttached           the loss does not know where in the run it is
"""


class IntegrationError(Exception):
    """The loss cannot stand in for the trainer's own."""


class UnsupportedModel(IntegrationError):  # noqa: N818
    """The model's labels are not one class a row."""


class UnsupportedSetting(IntegrationError):  # noqa: N818
    """A setting of the trainer would be ignored, or would change the loss silently."""


class NotAttached(IntegrationError):  # noqa: N818
    """The loss does not know where in the run it is: it was not attached to the trainer that calls it."""

    def __init__(self) -> None:
        super().__init__(
            "the loss was asked for outside of a training step of the trainer it is attached to, so it cannot know "
            "the epoch: call dece.attach(trainer) once the trainer is made, with one loss a trainer"
        )
