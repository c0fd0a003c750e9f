"""The public keys of an install, where every replica of the API finds them: in the object store.

They tell a user what to verify with. No server trusts them: those that serve are told by the process that signs.
"""

import logging

from deploy.contract import layout
from deploy.evidence.error import BadKey
from deploy.evidence.keys import PublicKey
from deploy.store.protocol import ObjectMissing
from deploy.store.protocol import ObjectStore
from service.evidence.keyring import Keyring

logger = logging.getLogger(__name__)


def publish_keys(store: ObjectStore, keyring: Keyring) -> None:
    """Put every key that is trusted where the API shows it, and which of them signs. Raises StoreError."""
    for key in keyring.trusted:
        store.put_once(layout.public_key_key(key.id), key.pem.encode())
    store.put(layout.SIGNING_KEY_ID, keyring.signing.public.id.encode())


def read_keys(store: ObjectStore) -> tuple[str | None, list[PublicKey]]:
    """The id of the key that signs now, and all keys that ever did. Raises StoreError."""
    try:
        signs = store.get(layout.SIGNING_KEY_ID).decode()
    except ObjectMissing:
        return None, []
    keys = []
    for info in store.list(layout.PUBLIC_KEYS):
        try:
            key = PublicKey.from_pem(store.get(info.key))
        except BadKey as error:
            logger.warning("%s: %s", info.key, error)
            continue
        if layout.public_key_key(key.id) == info.key:
            keys.append(key)
    return signs, sorted(keys, key=lambda key: (key.id != signs, key.id))
