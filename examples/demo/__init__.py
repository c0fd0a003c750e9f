"""The whole main job as an ordinary client: poisoned data in, a hardened model and a report out."""
