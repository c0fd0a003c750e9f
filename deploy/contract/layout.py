"""Where everything lies in the object store. Every key of the system is made here.

files/{file}                                     uploaded and result files
uploads/{upload}/parts/{part}                    parts of an upload that is not complete
base_models/{base}/{name}                        an uploaded base model
base_models/{base}/manifest.json                 its list of files, put once when complete
jobs/{job}/attempts/{n}/spec.json                written once by the service
jobs/{job}/attempts/{n}/{pod}/events/{seq}.jsonl progress, in numbered segments
jobs/{job}/attempts/{n}/{pod}/failure.json       why the attempt failed
jobs/{job}/attempts/{n}/{pod}/log.txt            the process's output
jobs/{job}/attempts/{n}/{pod}/checkpoints/{arm}/{step}/...   manifest.json is written last
jobs/{job}/attempts/{n}/{pod}/alpha-trials.json  trials of alpha_base, where it is to be chosen
jobs/{job}/attempts/{n}/{pod}/models/{arm}/...   an ordinary Hugging Face directory
jobs/{job}/attempts/{n}/{pod}/report.json
jobs/{job}/attempts/{n}/{pod}/metrics.csv
jobs/{job}/result.json                           the commit: one conditional PUT
scans/{scan}/...                                 as a job, but for models, metrics and the report:
scans/{scan}/attempts/{n}/{pod}/findings.json    suspicious rows
scans/{scan}/attempts/{n}/{pod}/findings.csv     the same as a table
endpoints/{endpoint}/order.json                  what an endpoint's pods may fetch and shall serve, written once
evidence/keys/{key}.pem                          public keys that evidence was or is signed with
evidence/signing-key                             the id of the one that signs now
evidence/requests/{job}                          a job whose hardened model is to get its evidence anew
broker/{upload}/{digest}/{part}                  parts of a pod's large object, in stores that cannot take them in
records/files/{file}.json                        what only the database knows of a file, for its recovery
records/base_models/{base}.json                  likewise of a base model; it goes when the base model goes
records/work/{job}.json                          what was asked of a job or a scan
records/ended/{job}.json                         how one ended that has no result

A scan is a job without arms: wherever a function below takes the id of a job, that of a scan will do.
"""

import re
from typing import Final
from typing import Literal

DEFAULT_PROJECT: Final = "default"
"""Owns whatever names no project."""
SEQUENCE_DIGITS: Final = 8
"""Numbers in keys are zero-padded so that a listing is in numeric order."""
ALPHA_TRIALS: Final = "alpha-trials.json"
SCAN: Final = "scan-"
"""How the id of a scan begins; the other jobs' ids begin with ``ftjob-``."""
BROKER_UPLOADS: Final = "broker/"
"""Prefix of what pods are writing through the broker."""
PUBLIC_KEYS: Final = "evidence/keys/"
"""Prefix of public keys."""
SIGNING_KEY_ID: Final = "evidence/signing-key"
EVIDENCE_REQUESTS: Final = "evidence/requests/"
"""Prefix of requests for evidence, by job."""
_NAME: Final = re.compile(r"(harden|scan)-([a-z0-9]{1,40})-([1-9][0-9]{0,5})")
_POD_OF_ENDPOINT: Final = re.compile(r"(ep-[a-z0-9]{1,40})-[a-z0-9]{1,10}-[a-z0-9]{5}")


def file_key(file_id: str) -> str:
    """Content of a file."""
    return f"files/{file_id}"


def upload_part_key(upload_id: str, part_id: str) -> str:
    """One part of an upload."""
    return f"uploads/{upload_id}/parts/{part_id}"


def base_model_prefix(base_model_id: str) -> str:
    """Prefix (with a trailing slash) of an uploaded base model."""
    return f"base_models/{base_model_id}/"


RecordKind = Literal["files", "base_models", "work", "ended"]


def records_prefix(kind: RecordKind) -> str:
    """Prefix of all records of a kind."""
    return f"records/{kind}/"


def record_key(kind: RecordKind, identity: str) -> str:
    """What the database knows of one thing."""
    return f"{records_prefix(kind)}{identity}.json"


def is_scan(job_id: str) -> bool:
    """Whether an id names a scan, not a fine-tuning job."""
    return job_id.startswith(SCAN)


def job_prefix(job_id: str) -> str:
    """Prefix of everything that belongs to a job."""
    return f"{'scans' if is_scan(job_id) else 'jobs'}/{job_id}/"


def attempts_prefix(job_id: str) -> str:
    """Prefix of all attempts of a job."""
    return f"{job_prefix(job_id)}attempts/"


def attempt_prefix(job_id: str, attempt: int) -> str:
    """Prefix of one attempt."""
    return f"{attempts_prefix(job_id)}{attempt}/"


def spec_key(job_id: str, attempt: int) -> str:
    """The spec of one attempt."""
    return f"{attempt_prefix(job_id, attempt)}spec.json"


def pod_prefix(job_id: str, attempt: int, pod: str) -> str:
    """Prefix below which one start of one attempt writes."""
    return f"{attempt_prefix(job_id, attempt)}{pod}/"


def events_prefix(job_id: str, attempt: int, pod: str) -> str:
    """Prefix of one start's event segments."""
    return f"{pod_prefix(job_id, attempt, pod)}events/"


def event_segment_key(job_id: str, attempt: int, pod: str, sequence: int) -> str:
    """One segment of events, JSON Lines of :class:`deploy.contract.event.JobEvent`."""
    return f"{events_prefix(job_id, attempt, pod)}{sequence:0{SEQUENCE_DIGITS}d}.jsonl"


def failure_key(job_id: str, attempt: int, pod: str) -> str:
    """Why one start failed."""
    return f"{pod_prefix(job_id, attempt, pod)}failure.json"


def log_key(job_id: str, attempt: int, pod: str) -> str:
    """The output of one start."""
    return f"{pod_prefix(job_id, attempt, pod)}log.txt"


def checkpoint_prefix(job_id: str, attempt: int, pod: str, arm: str, step: int) -> str:
    """One checkpoint of one arm."""
    return f"{pod_prefix(job_id, attempt, pod)}checkpoints/{arm}/{step:0{SEQUENCE_DIGITS}d}/"


def alpha_trials_key(job_id: str, attempt: int, pod: str) -> str:
    """The trials of alpha_base that one start knows of: its own, and those that it took over."""
    return f"{pod_prefix(job_id, attempt, pod)}{ALPHA_TRIALS}"


def model_prefix(job_id: str, attempt: int, pod: str, arm: str) -> str:
    """The weights of one arm: an ordinary Hugging Face directory."""
    return f"{pod_prefix(job_id, attempt, pod)}models/{arm}/"


def report_key(job_id: str, attempt: int, pod: str) -> str:
    """The report as the job wrote it."""
    return f"{pod_prefix(job_id, attempt, pod)}report.json"


def metrics_key(job_id: str, attempt: int, pod: str) -> str:
    """Per-step metrics in CSV."""
    return f"{pod_prefix(job_id, attempt, pod)}metrics.csv"


def findings_key(scan_id: str, attempt: int, pod: str) -> str:
    """Suspicious rows as a scan found them."""
    return f"{pod_prefix(scan_id, attempt, pod)}findings.json"


def findings_table_key(scan_id: str, attempt: int, pod: str) -> str:
    """The same in CSV."""
    return f"{pod_prefix(scan_id, attempt, pod)}findings.csv"


def result_key(job_id: str) -> str:
    """The commit of a job. At most one ever exists."""
    return f"{job_prefix(job_id)}result.json"


def broker_upload_prefix(upload_id: str, key_sha256: str) -> str:
    """Prefix of the parts of a large object that a pod is writing to the key with this digest."""
    return f"{BROKER_UPLOADS}{upload_id}/{key_sha256[:32]}/"


def public_key_key(key_id: str) -> str:
    """A public key that evidence was signed with."""
    return f"{PUBLIC_KEYS}{key_id}.pem"


def evidence_request_key(job_id: str) -> str:
    """That the hardened model of a job is to get its evidence anew."""
    return f"{EVIDENCE_REQUESTS}{job_id}"


def endpoint_prefix(endpoint_id: str) -> str:
    """Prefix of everything that belongs to an endpoint."""
    return f"endpoints/{endpoint_id}/"


def endpoint_order_key(endpoint_id: str) -> str:
    """The :class:`deploy.endpoint.order.ServeOrder` of an endpoint in a cluster: its pods fetch what it lists."""
    return f"{endpoint_prefix(endpoint_id)}order.json"


def job_name(job_id: str, attempt: int) -> str:
    """Deterministic name of a launched attempt: "already exists" means "done".

    ``job_id`` is ``ftjob-`` or ``scan-`` and lower-case letters and digits, so this is a DNS label.
    """
    if is_scan(job_id):
        return f"{job_id}-{attempt}"
    return f"harden-{job_id.removeprefix('ftjob-')}-{attempt}"


def job_of_name(name: str) -> tuple[str, int] | None:
    """Job and attempt that the name of a launched attempt stands for; None for a name that is not ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return ("ftjob-" if match[1] == "harden" else SCAN) + match[2], int(match[3])


def endpoint_of_pod(pod_name: str) -> str | None:
    """The endpoint whose Deployment made a pod of this name; None for a name that is not of ours."""
    match = _POD_OF_ENDPOINT.fullmatch(pod_name)
    return match[1] if match is not None else None
