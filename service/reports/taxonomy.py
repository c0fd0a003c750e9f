"""Where a finding belongs in the catalogues that security teams sort by. Every tag carries its catalogue's version."""

from typing import Final

from deploy.contract.document import Document


class Tag(Document):
    """One entry of a catalogue."""

    catalogue: str
    version: str
    id: str
    name: str
    url: str


_ATLAS: Final = "MITRE ATLAS"
_ATLAS_VERSION: Final = "2026.07"
_OWASP: Final = "OWASP Top 10 for LLM Applications"

DATA_POISONING: Final = Tag(
    catalogue=_ATLAS,
    version=_ATLAS_VERSION,
    id="AML.T0020",
    # Until 2026.05 the same entry was called "Poison Training Data".
    name="Training Data Poisoning",
    url="https://atlas.mitre.org/techniques/AML.T0020",
)
MODEL_POISONING: Final = Tag(
    catalogue=_ATLAS,
    version=_ATLAS_VERSION,
    id="AML.T0018.000",
    name="Manipulate AI Model: Poison AI Model",
    url="https://atlas.mitre.org/techniques/AML.T0018.000",
)
OWASP_2025: Final = Tag(
    catalogue=_OWASP,
    version="2025",
    id="LLM04:2025",
    name="Data and Model Poisoning",
    url="https://genai.owasp.org/llmrisk/llm042025-data-and-model-poisoning/",
)
OWASP_2026: Final = Tag(
    catalogue=_OWASP,
    version="2026",
    id="LLM05:2026",
    name="Data and Model Poisoning",
    url="https://genai.owasp.org/llm-top-10/",
)

OF_ROWS: Final = (DATA_POISONING, OWASP_2025, OWASP_2026)
"""A training row that looks planted."""
OF_MODELS: Final = (MODEL_POISONING, DATA_POISONING, OWASP_2025, OWASP_2026)
"""A model that gives a payload."""
EVERY: Final = OF_MODELS
