FROM python:3.11-slim-bookworm AS packages
WORKDIR /build
COPY requirements-uv.lock requirements.lock ./
RUN python -m venv /venv \
    && pip install --no-cache-dir --require-hashes --requirement requirements-uv.lock \
    && uv pip install --no-cache --python /venv/bin/python --require-hashes --requirement requirements.lock

FROM python:3.11-slim-bookworm AS shop
# A line in /etc/passwd, because the embedded PostgreSQL wants a user with a name.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin subgate \
    && install --directory --owner subgate /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY tiers.toml ./
COPY migrations ./migrations
COPY services ./services
COPY webhook_server ./webhook_server
COPY bot ./bot
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DATA_DIR=/data HTTP_HOST=0.0.0.0 HTTP_PORT=8080
USER subgate
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM

# docker build --target sandbox: the shop and a pretended outside world, to try it out.
FROM shop AS sandbox
COPY sandbox ./sandbox
USER root
RUN install --directory --owner subgate sandbox-data
USER subgate
ENV HTTP_HOST=127.0.0.1
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8091/health', timeout=3)"]
CMD ["python", "-m", "sandbox"]

# The default: what runs in production, without the sandbox and without tests.
FROM shop AS production
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"HTTP_PORT\"]}/health', timeout=3)"]
CMD ["python", "-m", "bot"]
