"""What a user may ask about evidence."""

from deploy.evidence.names import DOCUMENTS
from deploy.evidence.names import SIGNATURE
from deploy.store.protocol import ObjectStore
from service.context import Context
from service.errors import BadRequest
from service.evidence.published_keys import read_keys
from service.evidence.requests import is_requested
from service.evidence.requests import request_evidence
from service.evidence.schemas import EvidenceView
from service.evidence.schemas import PublicKeyList
from service.evidence.schemas import PublicKeyView
from service.jobs.repository import verdict_of
from service.models.repository import ModelRepository
from service.models.service import model_not_found
from service.tables import ModelRow


def list_keys(store: ObjectStore) -> PublicKeyList:
    """The public keys of this install. Raises StoreError."""
    signs, keys = read_keys(store)
    return PublicKeyList(data=[PublicKeyView(id=key.id, active=key.id == signs, pem=key.pem) for key in keys])


def get_evidence(context: Context, project: str, model_id: str) -> EvidenceView:
    """The evidence of a hardened model.

    Raises:
        NotFound: there is no such model.
        BadRequest: it is none that evidence is made of.
        StoreError: the store cannot be asked.
    """
    with context.database.reading() as session:
        row = _require(ModelRepository(session, project), model_id)
        verdict = verdict_of(session, project, _job_of(row))
        uri, job_id = row.uri, _job_of(row)
    prefix = f"{uri.removeprefix(context.store.uri).strip('/')}/"
    there = [name for name in DOCUMENTS if context.store.info(prefix + name) is not None]
    requested = is_requested(context.store, job_id)
    return EvidenceView(
        model=model_id,
        status="requested" if requested else "issued" if SIGNATURE in there else "missing",
        verdict=verdict,
        uri=uri,
        files=there,
    )


def request(context: Context, project: str, model_id: str) -> EvidenceView:
    """Have it issued anew. Raises as :func:`get_evidence`."""
    with context.database.reading() as session:
        job_id = _job_of(_require(ModelRepository(session, project), model_id))
    request_evidence(context.store, job_id)
    return get_evidence(context, project, model_id)


def _require(models: ModelRepository, model_id: str) -> ModelRow:
    row = models.get(model_id)
    if row is None:
        raise model_not_found(model_id)
    if row.arm != "hardened" or row.job_id is None:
        raise BadRequest(
            f"{model_id!r} is a {row.arm} model: evidence is made of hardened models alone.",
            code="no_evidence",
            param="model",
        )
    return row


def _job_of(row: ModelRow) -> str:
    return str(row.job_id)
