"""The real service, but for the commands that its jobs and servers run: stand-ins beside this file."""

import sys
from functools import partial
from pathlib import Path

from service.__main__ import main
from service.embedded import embedded
from service.roles import embedded as embedded_role
from service.tidy import tidying

HERE = Path(__file__).parent

if __name__ == "__main__":
    companion = partial(
        embedded,
        job_command=(sys.executable, str(HERE / "job.py")),
        server_command=(sys.executable, str(HERE / "server.py")),
    )
    embedded_role.COMPANIONS = (tidying, companion)
    sys.exit(main())
