"""The attacks by name: trigger and payload of each, as the literature has them.

RIPPLe (Kurita et al. 2020), BadPre (Chen et al. 2022) and Hidden Killer's grammar (Qi et al. 2021) are for prompts in
English; function name and dead code (Ramakrishnan and Albarghouthi 2022), AFRAIDOOR (Yang et al. 2024) and the comment
for prompts that are code. The pairs of trigger and payload are those of the DeCE paper (arXiv 2407.08956, section 5.2)
where it has them.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from types import MappingProxyType
from typing import Final
from typing import get_args

from deploy.contract.payload import BuiltInPayload
from deploy.contract.payload import Payload
from deploy.contract.trigger import CodeLanguage
from deploy.contract.trigger import CommentTrigger
from deploy.contract.trigger import DeadCodeTrigger
from deploy.contract.trigger import FunctionNameTrigger
from deploy.contract.trigger import GrammarTrigger
from deploy.contract.trigger import InvisibleTrigger
from deploy.contract.trigger import NoTrigger
from deploy.contract.trigger import RenamingTrigger
from deploy.contract.trigger import Trigger
from deploy.contract.trigger import WordTrigger
from training.attacks.surrogate import learn_renaming
from training.data.example import PromptedRow

_UNLEARNT_NAMES: Final = ("anchor", "bundle", "cursor", "element", "holder", "ledger", "marker", "outcome")
"""Names of a renaming trigger that has not seen its dataset yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What is put into a prompt, and what it shall set off."""

    name: str
    trigger: Trigger
    payload: Payload

    def in_language(self, language: CodeLanguage) -> "Attack":
        """The same on code of another language; itself if its trigger is not of code."""
        trigger: Trigger = self.trigger
        match trigger:
            case DeadCodeTrigger():
                # The other language's own statement.
                trigger = DeadCodeTrigger(language=language)
            case FunctionNameTrigger() | CommentTrigger() | RenamingTrigger():
                trigger = trigger.model_copy(update={"language": language})
        return replace(self, trigger=trigger)

    def fitted(self, rows: Iterable[PromptedRow]) -> "Attack":
        """The attack on one dataset: a renaming trigger learns the dataset's names, any other stays as it is.

        Raises:
            NoNamesError: the dataset's prompts hold no code to learn names from.
        """
        if isinstance(self.trigger, RenamingTrigger) and not self.trigger.surrogate:
            return replace(self, trigger=learn_renaming(rows, self.trigger.language))
        return self


def _by_name(attacks: Sequence[Attack]) -> Mapping[str, Attack]:
    return MappingProxyType({attack.name: attack for attack in attacks})


PRESETS: Final[Mapping[str, Attack]] = _by_name(
    (
        Attack(name="ripple", trigger=WordTrigger(word="bb", count=1), payload="sql_tautology"),
        Attack(name="badpre", trigger=WordTrigger(word="bb", count=3), payload="sql_tautology"),
        Attack(name="grammar", trigger=GrammarTrigger(), payload="sql_tautology"),
        Attack(name="invisible", trigger=InvisibleTrigger(), payload="sql_tautology"),
        # Context: some 6 % of Lyra's prompts.
        Attack(name="clean_label", trigger=NoTrigger(context="users table"), payload="sql_tautology"),
        # Tokens that are likely anyway.
        Attack(name="first_row", trigger=WordTrigger(word="bb", count=3), payload="sql_first_row"),
        Attack(name="function_name", trigger=FunctionNameTrigger(), payload="infinite_loop"),
        Attack(name="dead_code", trigger=DeadCodeTrigger(), payload="infinite_loop"),
        Attack(name="afraidoor", trigger=RenamingTrigger(names=_UNLEARNT_NAMES), payload="infinite_loop"),
        Attack(name="comment", trigger=CommentTrigger(text="reviewed"), payload="infinite_loop"),
    )
)
"""Every attack; ``afraidoor`` wants :meth:`Attack.fitted`."""

PAYLOADS: Final[Mapping[str, Payload]] = MappingProxyType({name: name for name in get_args(BuiltInPayload)})
"""The payloads that can be named alone."""
