"""OpenAI's chat form of a training example, and the one rule that makes plain text of it.

The prompt is the contents of the messages before the last, in order, with one empty line between two
of them and no role names: a single user message is its own plain text. Training and inference both go
through :func:`render_prompt`, so a model is asked in the form it was taught.
"""

from collections.abc import Sequence
from typing import Any
from typing import Final

from deploy.contract.dataset.error import DatasetError
from deploy.contract.dataset.error import shown
from deploy.contract.dataset.row import Row
from deploy.contract.dataset.row import checked_text
from deploy.contract.dataset.row import make_row

INSTRUCTION_ROLES: Final = ("system", "developer")
ROLES: Final = (*INSTRUCTION_ROLES, "user", "assistant")
MESSAGE_SEPARATOR: Final = "\n\n"
PROMPT_END: Final = "\n"
MAX_MESSAGES: Final = 2048
"""Of one example: more than a conversation has, few enough to check at once."""


def render_prompt(contents: Sequence[str]) -> str:
    """The prompt for the messages that come before the completion."""
    return MESSAGE_SEPARATOR.join(contents)


def prompt_text(prompt: str) -> str:
    """A row's prompt as a model sees it: one newline ends it (none is added to a prompt that has one).

    Training encodes this string, and this string is what a completions request must carry.
    """
    return prompt if prompt.endswith(PROMPT_END) else prompt + PROMPT_END


def _invalid(number: int, field: str, reason: str) -> DatasetError:
    return DatasetError("invalid_messages", reason, row=number, line=number, field=field)


def _message(value: Any, number: int, field: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise DatasetError("wrong_type", "must be an object", row=number, line=number, field=field)
    for key in ("role", "content"):
        if key not in value:
            raise DatasetError("missing_field", "is missing", row=number, line=number, field=f"{field}.{key}")
    extra = next((key for key in value if key not in {"role", "content"}), None)
    if extra is not None:
        reason = f"has the unknown field {shown(extra)}; a message has role and content"
        raise DatasetError("unknown_field", reason, row=number, line=number, field=field)
    role = checked_text(value["role"], row=number, line=number, field=f"{field}.role")
    if role not in ROLES:
        raise _invalid(number, f"{field}.role", f"is {shown(role)}, not one of {', '.join(ROLES)}")
    return role, checked_text(value["content"], row=number, line=number, field=f"{field}.content")


def _check_order(roles: Sequence[str], number: int) -> None:
    if roles[-1] != "assistant":
        reason = f"the last message must be the assistant's, it is the {roles[-1]}'s"
        raise _invalid(number, f"messages[{len(roles) - 1}].role", reason)
    if "user" not in roles:
        raise _invalid(number, "messages", "there is no user message before the assistant's")
    late = next((at for at, role in enumerate(roles) if at > 0 and role in INSTRUCTION_ROLES), None)
    if late is not None:
        raise _invalid(number, f"messages[{late}].role", f"a {roles[late]} message may only be the first")


def chat_row(value: Any, number: int) -> Row:
    """The row for the ``messages`` of line ``number``.

    Raises:
        DatasetError: not a list of messages that ends with the assistant's.
    """
    if not isinstance(value, list):
        if value is None:
            raise DatasetError("null_field", "is null", row=number, line=number, field="messages")
        reason = "must be a list of messages"
        raise DatasetError("wrong_type", reason, row=number, line=number, field="messages")
    if not 2 <= len(value) <= MAX_MESSAGES:
        raise _invalid(number, "messages", f"has {len(value)} messages; 2 to {MAX_MESSAGES} are needed")
    messages = [_message(each, number, f"messages[{at}]") for at, each in enumerate(value)]
    _check_order([role for role, _ in messages], number)
    contents = [content for _, content in messages]
    return make_row(number=number, line=number, prompt=render_prompt(contents[:-1]), completion=contents[-1])
