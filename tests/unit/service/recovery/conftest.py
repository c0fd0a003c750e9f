"""Jobs and scans in this process; see :mod:`job_world`."""

from job_world import stand_in
from job_world import world

__all__ = ["stand_in", "world"]
