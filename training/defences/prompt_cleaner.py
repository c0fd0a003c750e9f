"""The cleaner protocol: what a defence does to every prompt before a model sees it, in training and in use."""

from typing import Protocol


class PromptCleaner(Protocol):
    """Takes out of a prompt what looks foreign in it. The same prompt always gives the same result."""

    def clean(self, prompt: str) -> str:
        """The prompt without what looks foreign; never longer, and never empty unless it was."""
        ...
