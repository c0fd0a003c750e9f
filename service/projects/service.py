"""What can be done with projects and their keys."""

from sqlalchemy.orm import Session

from deploy.contract.layout import DEFAULT_PROJECT
from service.errors import BadRequest
from service.errors import Conflict
from service.errors import Forbidden
from service.errors import NotFound
from service.ids import new_id
from service.projects.archiving import end_everything
from service.projects.principal import GRANTABLE
from service.projects.principal import Principal
from service.projects.repository import ProjectRepository
from service.projects.schemas import CreateApiKey
from service.projects.secret import Secret
from service.projects.secret import new_secret
from service.tables import ApiKeyRow
from service.tables import ProjectRow


def create_project(session: Session, name: str, *, now: float) -> ProjectRow:
    """A tenant that owns nothing yet."""
    row = ProjectRow(id=new_id("proj"), name=name, created_at=int(now), erase=False)
    session.add(row)
    session.flush()
    return row


def require_project(session: Session, project: str, *, lock: bool = False) -> ProjectRow:
    """A project, archived or not. Raises NotFound."""
    row = ProjectRepository(session, project).get(lock=lock)
    if row is None:
        raise project_not_found(project)
    return row


def rename_project(session: Session, project: str, name: str) -> ProjectRow:
    """Give a project another name. Raises NotFound."""
    row = require_project(session, project, lock=True)
    row.name = name
    return row


def archive_project(session: Session, project: str, *, erase: bool, now: float) -> ProjectRow:
    """End a project: its keys are dead, its endpoints go, its work is cancelled. A repeated call changes nothing.

    Raises:
        NotFound: there is no such project.
        Conflict: it is the default one, or was archived with the other wish for its data.
        Unavailable: some of its work changes all the time.
    """
    row = require_project(session, project, lock=True)
    if project == DEFAULT_PROJECT:
        raise Conflict("The default project cannot be archived.", code="default_project")
    if row.archived_at is not None and row.erase != erase:
        raise Conflict(f"{project} was archived already, with another wish for its data.", code="archived")
    if ProjectRepository(session, project).archive(erase=erase):
        end_everything(session, project, now=now)
    session.expire(row)
    return require_project(session, project)


def of_caller(caller: Principal, project: str) -> str:
    """The project of a path, if the caller may manage its keys. Raises NotFound, the same for a foreign one."""
    if not caller.operator and caller.project != project:
        raise project_not_found(project)
    return project


def create_key(
    session: Session, caller: Principal, project: str, body: CreateApiKey
) -> tuple[ApiKeyRow, Secret]:
    """Make a key; the second value is never seen again.

    Raises:
        NotFound: there is no such project.
        Conflict: it is archived.
        BadRequest: no key of a project may have such a scope.
        Forbidden: the caller may do less, or for a shorter time.
    """
    row = require_project(session, of_caller(caller, project), lock=True)
    if row.archived_at is not None:
        raise Conflict(f"{project} is archived.", code="archived")
    keys = ProjectRepository(session, project)
    _check_scopes(caller, body)
    _check_lifetime(keys, caller, body)
    secret = new_secret()
    key = ApiKeyRow(
        id=secret.key_id,
        project=project,
        name=body.name,
        secret_sha256=secret.sha256,
        scopes=sorted(set(body.scopes)),
    )
    keys.add_key(key, lasts_s=body.expires_in_s)
    return key, secret


def _check_scopes(caller: Principal, body: CreateApiKey) -> None:
    for position, scope in enumerate(body.scopes):
        param = f"scopes.{position}"
        if scope not in GRANTABLE:
            raise BadRequest(f"{param}: no key of a project can have {scope!r}.", param=param)
        if not caller.may(scope):
            raise Forbidden(f"{param}: a key cannot grant {scope!r}, which it does not have.", param=param)


def _check_lifetime(keys: ProjectRepository, caller: Principal, body: CreateApiKey) -> None:
    left_s = None if caller.key_id is None else keys.left_s(caller.key_id)
    if left_s is not None and (body.expires_in_s is None or body.expires_in_s > left_s):
        said = f"expires_in_s: a key cannot grant more than its own time, {left_s} s."
        raise Forbidden(said, param="expires_in_s")


def require_key(session: Session, caller: Principal, project: str, key_id: str) -> ApiKeyRow:
    """A key, good or not. Raises NotFound."""
    row = ProjectRepository(session, of_caller(caller, project)).key(key_id)
    if row is None:
        raise _key_not_found(key_id)
    return row


def revoke_key(session: Session, caller: Principal, project: str, key_id: str) -> None:
    """End a key: no process takes it for longer than it remembers one. Raises NotFound."""
    if not ProjectRepository(session, of_caller(caller, project)).revoke(key_id):
        raise _key_not_found(key_id)


def project_not_found(project: str) -> NotFound:
    """The answer for an id that names no project of the caller's."""
    return NotFound(f"There is no project {project[:64]!r}.", code="project_not_found", param="project_id")


def _key_not_found(key_id: str) -> NotFound:
    return NotFound(f"There is no API key {key_id[:64]!r}.", code="api_key_not_found", param="key_id")
