"""What can be wrong with evidence.

::

    EvidenceError
    ├── BadKey        a key that cannot be used
    └── NotVerified   evidence that proves nothing
"""


class EvidenceError(ValueError):
    """Evidence cannot be made or believed."""


class BadKey(EvidenceError):  # noqa: N818 - it names a state
    """The key is of another kind than evidence is signed with; the message says which, never the key."""


class NotVerified(EvidenceError):  # noqa: N818 - likewise
    """The evidence does not prove what it says; the message names the document and the reason."""
