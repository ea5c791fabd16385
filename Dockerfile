# The locked environment and winnow in it, without the tools that built it.
#
#   docker build --tag winnow .                      the CPU, see TORCH_INDEX
#   docker build --tag winnow:cuda --build-arg VARIANT=cuda .
#   docker run --rm winnow                           rerun the pipeline and compare with what is committed
#   docker run --rm winnow search --help             any other command
#   docker build --target test --tag winnow:test . && docker run --rm winnow:test     make test

ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# VARIANT: cpu or cuda. TORCH_INDEX: the package index that has this build of PyTorch; empty takes pip's own.
ARG VARIANT=cpu
ARG TORCH_INDEX=
RUN python3 -m venv /opt/winnow
ENV PATH=/opt/winnow/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
COPY requirements.lock requirements-dev.lock /build/
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' /build/requirements.lock)" && \
    python -W ignore -c "import sys, torch; cuda = torch.version.cuda is not None; \
sys.exit(None if cuda == ('$VARIANT' == 'cuda') else f'this PyTorch is built for {torch.version.cuda or \"the CPU\"}, \
VARIANT is $VARIANT: give --build-arg TORCH_INDEX=… with an index that has that build')"
# What winnow itself needs, in the locked versions: the tools of its developers stay out
COPY pyproject.toml /build/
RUN python -c "import tomllib; project = tomllib.load(open('/build/pyproject.toml', 'rb'))['project']; \
extra = project['optional-dependencies']; \
print(*project['dependencies'], *extra['postgresql'], *extra['dashboard'], sep='\n')" > /build/needed && \
    pip install --constraint /build/requirements.lock --constraint /build/requirements-dev.lock --requirement /build/needed setuptools
COPY README.md LICENSE /build/
COPY src /build/src
COPY pipelines /build/pipelines
COPY recipes /build/recipes
RUN pip install --no-deps --no-build-isolation /build && pip uninstall --yes --quiet pip && \
    find /opt/winnow -name __pycache__ -prune -exec rm -r {} +

FROM ${BASE} AS runtime
RUN useradd --create-home --uid 1000 winnow && install --directory --owner winnow --group winnow /project /artifacts && \
    find /usr \( -path '*-packages/pip*' -o -path '*/bin/pip*' \) -prune -exec rm -r {} +
COPY --from=build /opt/winnow /opt/winnow
# USER, LOGNAME, HOME: for `docker run --user`, where a number has neither a name, which DVC asks for, nor a home
ENV PATH=/opt/winnow/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE MPLCONFIGDIR=/tmp/matplotlib USER=winnow LOGNAME=winnow HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=1
WORKDIR /project
COPY --chown=winnow:winnow params.yaml dvc.yaml dvc.lock requirements.lock ./
COPY --chown=winnow:winnow reports ./reports
USER winnow
ENTRYPOINT ["winnow"]
CMD ["verify"]

# The tests with what they need beside the pipeline: git, make, the second lock, and the sources.
FROM runtime AS test
USER root
RUN apt-get update -qq && apt-get install --yes -qq --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
COPY requirements-dev.lock ./
RUN python -m venv /tmp/pip && \
    /tmp/pip/bin/pip --python /opt/winnow/bin/python install --no-cache-dir --no-compile --no-deps --requirement requirements-dev.lock && \
    rm -r /tmp/pip
COPY --chown=winnow:winnow . /project
USER winnow
ENTRYPOINT []
CMD ["make", "test", "BIN=/opt/winnow/bin"]

FROM runtime
