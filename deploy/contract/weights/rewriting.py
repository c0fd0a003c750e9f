"""What a loader gets to see of a model directory: files that we wrote, and the weights.

Configs, tokenizers and the index come from untrusted hands, and libraries follow what they say. So each is parsed here
under limits and written anew from what is known of it; what was not taken is listed. Rewriting what was rewritten
changes nothing.
"""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.contract.weights.config import check_config
from deploy.contract.weights.config import rewrite_config
from deploy.contract.weights.config import rewrite_generation_config
from deploy.contract.weights.document import MAX_CONFIG_BYTES
from deploy.contract.weights.document import MAX_DROPPED
from deploy.contract.weights.document import MAX_INDEX_BYTES
from deploy.contract.weights.document import read_object
from deploy.contract.weights.document import written
from deploy.contract.weights.error import ModelRefused
from deploy.contract.weights.names import CHAT_TEMPLATE
from deploy.contract.weights.names import CONFIG
from deploy.contract.weights.names import EVIDENCE_FILES
from deploy.contract.weights.names import GENERATION_CONFIG
from deploy.contract.weights.names import INDEX
from deploy.contract.weights.names import PLAIN_FILES
from deploy.contract.weights.names import is_weights
from deploy.contract.weights.tokenizer import rewrite_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """What takes the place of a directory's small files."""

    files: Mapping[str, bytes]
    """By name."""
    dropped: tuple[str, ...]
    """``file: member`` for everything that was not taken, for the user."""


def weight_map_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Where an index places each tensor. Raises ModelRefused ``shards_mismatch``."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelRefused("shards_mismatch", "has no weight_map", file=INDEX)
    for shard in weight_map.values():
        if not isinstance(shard, str):
            raise ModelRefused("shards_mismatch", "a tensor's shard is not a name", file=INDEX)
    return weight_map


def _total_bytes(directory: Path, names: Collection[str], shards: Iterable[str]) -> int:
    total = 0
    for shard in shards:
        if shard not in names:
            shown = ascii(shard)[1:-1][:128]
            raise ModelRefused("shards_mismatch", f"names the shard {shown}, which is not there", file=INDEX)
        total += (directory / shard).stat().st_size
    return total


def rewriting_of(directory: Path, names: Collection[str], config: Mapping[str, Any]) -> Rewriting:
    """What takes the place of the files in ``names``; ``config`` was accepted, and is of a model that writes.

    Raises:
        ModelRefused: the first file that cannot be rewritten.
    """
    new = rewrite_config(config)
    files, dropped = {CONFIG: written(new.members)}, list(new.dropped)
    if GENERATION_CONFIG in names:
        new = rewrite_generation_config(read_object(directory / GENERATION_CONFIG, MAX_CONFIG_BYTES))
        files[GENERATION_CONFIG] = written(new.members)
        dropped.extend(new.dropped)
    if INDEX in names:
        weight_map = weight_map_of(read_object(directory / INDEX, MAX_INDEX_BYTES))
        total = _total_bytes(directory, names, set(weight_map.values()))
        files[INDEX] = written({"metadata": {"total_size": total}, "weight_map": weight_map})
    tokenizer, more = rewrite_tokenizer(directory, names)
    dropped.extend(more)
    if CHAT_TEMPLATE in names:
        dropped.append(CHAT_TEMPLATE)
    if len(dropped) > MAX_DROPPED:
        dropped[MAX_DROPPED:] = [f"and {len(dropped) - MAX_DROPPED} more"]
    return Rewriting(files={**files, **tokenizer}, dropped=tuple(dropped))


def put_rewriting(directory: Path, rewriting: Rewriting) -> None:
    """Write the new files into a directory, over the old ones."""
    for name, data in rewriting.files.items():
        (directory / name).write_bytes(data)


def rewrite_directory(directory: Path, *, clear: bool) -> Rewriting:
    """Write a local directory's small files anew; its hashes were checked before.

    ``clear`` leaves nothing for a loader but weights and what we wrote. The weights themselves are not read:
    :func:`deploy.contract.weights.check_directory` does that.

    Raises:
        ModelRefused: a file cannot be rewritten; the directory must not be loaded.
        OSError: the directory cannot be read or written.
    """
    names = {path.name for path in directory.iterdir()}
    if CONFIG not in names:
        raise ModelRefused("missing_config", "there is no config.json")
    config = read_object(directory / CONFIG, MAX_CONFIG_BYTES)
    check_writes(check_config(config).architecture)
    rewriting = rewriting_of(directory, names, config)
    kept = rewriting.files.keys() | PLAIN_FILES | EVIDENCE_FILES
    for name in names if clear else ():
        if name not in kept and not is_weights(name):
            (directory / name).unlink()
    put_rewriting(directory, rewriting)
    return rewriting


def check_writes(architecture: str) -> None:
    """Refuse an encoder. Raises ModelRefused ``unsupported_architecture``."""
    if architecture == "encoder":
        message = "is an encoder: it writes no code, so there is nothing to harden or to serve"
        raise ModelRefused("unsupported_architecture", message, file=CONFIG)
