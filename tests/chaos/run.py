"""A job's process as chaos runs it: the stand-in. Its first argument names what is switched off."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from deploy.store.s3 import S3Store

    if "conditional-put" in sys.argv.pop(1):
        S3Store.put_once = lambda self, key, data: bool(self.put(key, data))  # type: ignore[method-assign]
    sys.argv[0] = str(ROOT / "tests" / "stand_ins" / "job.py")
    runpy.run_path(sys.argv[0], run_name="__main__")
