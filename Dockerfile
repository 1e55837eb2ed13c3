# syntax=docker/dockerfile:1
# docker build --tag quaymaster .   README.md says how to run it.

FROM python:3.13.16-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PATH=/opt/quaymaster/bin:$PATH
WORKDIR /src
RUN python -m venv /opt/quaymaster
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY quaymaster ./quaymaster
COPY app ./app
RUN pip install --no-build-isolation --no-deps .
# What builds stays behind; pip takes itself along, last.
RUN pip uninstall --yes hatchling editables && pip check && pip uninstall --yes pip

FROM python:3.13.16-slim-trixie
LABEL org.opencontainers.image.title="Quaymaster" \
      org.opencontainers.image.description="An OpenAI-compatible gateway for the containers API" \
      org.opencontainers.image.licenses="Apache-2.0"
# Named by number, so that Kubernetes' runAsNonRoot can tell. A new volume at /data takes the folder's owner over.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/quaymaster /opt/quaymaster
WORKDIR /etc/quaymaster
COPY config.yaml ./
# Only /data is written, temporary files included, so the root file system may be read-only.
ENV PATH=/opt/quaymaster/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    QUAYMASTER_CONFIG=/etc/quaymaster/config.yaml \
    QUAYMASTER_DATA_DIR=/data \
    QUAYMASTER_SERVER__HOST=0.0.0.0
USER 10001:10001
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.build_opener(web.ProxyHandler({})).open('http://127.0.0.1:' + os.environ.get('QUAYMASTER_SERVER__PORT', '4000') + '/health/liveliness', timeout=4)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]
