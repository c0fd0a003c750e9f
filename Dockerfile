# Two images from one file: api (the service's processes, without torch) and trainer (jobs and scans).
#   make image            both, for GPUs
#   make image SERVE=serve-cpu TORCH_INDEX=...   both, the trainer for processors
# Wheels that lie in build/wheels are preferred to the index: with all of them there, no network is needed.
ARG BASE=debian:bookworm-slim

# ---- what both run on: Python of the distribution and a user without rights --------------------------------------
FROM ${BASE} AS python
ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && groupadd --gid 10001 temper \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin temper
# Nothing is written beside the code: the root file system is read-only.
ENV PATH=/opt/temper/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp

# ---- where things are built; none of it reaches an image ----------------------------------------------------------
FROM python AS build
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
# A fixed time for whatever is written into archives, so that two builds of one commit give the same wheel.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
RUN python3 -m venv /opt/temper
# Copied, not mounted: builders without mounts (the classic one, kaniko) take this file as well.
COPY build/wheels /wheels
COPY pyproject.toml /src/
COPY requirements /src/requirements
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

# Dependencies and the project lie in layers of their own: a new version of ours is a few megabytes to pull.
FROM build AS project
COPY README.md LICENSE /src/
COPY service /src/service
COPY training /src/training
COPY deploy /src/deploy
# An image holds the packages that it runs.
RUN /opt/temper/bin/pip wheel --no-deps --find-links /wheels --wheel-dir /dist /src \
 && for image in api trainer; do /opt/temper/bin/pip install --no-deps --target /opt/$image /dist/*.whl; done \
 && rm -rf /opt/api/training /opt/trainer/service

FROM build AS api-dependencies
RUN /opt/temper/bin/pip install --no-deps --require-hashes --find-links /wheels -r /src/requirements/api.lock \
 && /opt/temper/bin/pip uninstall -y -q setuptools pip \
 && find /opt/temper -name __pycache__ -prune -exec rm -rf {} +

# ---- the image of the service -------------------------------------------------------------------------------------
FROM python AS api
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="temper-api" \
      org.opencontainers.image.description="Temper's API, reconciler and store broker" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=api-dependencies /opt/temper /opt/temper
COPY --from=project /opt/api /opt/project
ENV PATH=/opt/project/bin:$PATH PYTHONPATH=/opt/project
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["python", "-m", "service"]
CMD ["api"]

# ---- the image of the jobs ----------------------------------------------------------------------------------------
# It comes last: a builder that makes every stage above its target makes the api without it.
FROM build AS trainer-dependencies
ARG SERVE=serve-cuda
ARG TORCH_INDEX
RUN SERVE="${SERVE}" TORCH_INDEX="${TORCH_INDEX}" sh /src/requirements/trainer.sh /opt/temper /wheels
RUN /opt/temper/bin/pip uninstall -y -q pip && find /opt/temper -name __pycache__ -prune -exec rm -rf {} +

FROM python AS trainer
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SERVE=serve-cuda
LABEL org.opencontainers.image.title="temper-trainer" \
      org.opencontainers.image.description="Temper's hardening jobs and scans" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Triton compiles its launchers with a C compiler when a kernel first runs: without one there are no GPU kernels,
# ours or vLLM's. The processors' image has none, and takes torch's own rows in place of the compiled ones.
# libnuma: vLLM reads the memory nodes.
RUN apt-get update -q \
 && if [ "${SERVE}" = serve-cuda ]; then apt-get install -y -q --no-install-recommends gcc libc6-dev python3-dev; fi \
 && apt-get install -y -q --no-install-recommends libnuma1 libgomp1 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY --from=trainer-dependencies /opt/temper /opt/temper
COPY --from=project /opt/trainer /opt/project
ENV PATH=/opt/project/bin:$PATH PYTHONPATH=/opt/project
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["python", "-m"]
CMD ["training", "--help"]
