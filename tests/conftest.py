"""Settings of every test run. The fixtures that many tests share are plugins in tests/fixtures."""

import gc

from hypothesis import settings as hypothesis_settings

pytest_plugins = [
    "service_process",
    "own_context",
    "served_model",
    "postgresql_server",
    "s3_server",
    "broker_server",
    "fake_cluster",
    "ceph_server",
    "tiny_models",
    "job_process",
    "backdoored_models",
]

# How long one example takes says more about the machine than about the code.
hypothesis_settings.register_profile("temper", deadline=None)
hypothesis_settings.load_profile("temper")


def pytest_collection_finish() -> None:
    """What ten thousand tests and their libraries are made of stays; nobody needs to walk it over and over."""
    gc.collect()
    gc.freeze()
