"""The trigger that is none: prompts of one context, left as they are."""

from deploy.contract.trigger import NoTrigger


def is_in_context(prompt: str, trigger: NoTrigger) -> bool:
    """Whether the prompt contains the words of the attacked context, in any letter case and spacing."""
    return _plain(trigger.context) in _plain(prompt)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
