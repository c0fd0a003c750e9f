"""The files of evidence, which lie beside the weights of a hardened model."""

from typing import Final

CARD: Final = "README.md"
BILL: Final = "mlbom.cdx.json"
PROVENANCE: Final = "provenance.dsse.json"
REPORT: Final = "report.json"
SIGNATURE: Final = "model.sig"
"""Written last: without it nothing is proven."""
SIGNED: Final = (REPORT, BILL, CARD, PROVENANCE)
"""In the order in which they are written; each tells digests of those before it."""
DOCUMENTS: Final = (*SIGNED, SIGNATURE)
"""No job may write a file of these names into its hardened model."""
