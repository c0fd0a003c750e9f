"""Fixtures of jobs, for evidence is made of what they leave behind."""

from job_world import stand_in
from job_world import world

__all__ = ["stand_in", "world"]
