# Made by moat.
FROM python:3.12-slim-bookworm
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    libatomic1 \
    libstdc++6 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=node:20.1.0-bookworm-slim /usr/local/bin /usr/local/bin
COPY --from=node:20.1.0-bookworm-slim /usr/local/include /usr/local/include
COPY --from=node:20.1.0-bookworm-slim /usr/local/lib /usr/local/lib
COPY --from=node:20.1.0-bookworm-slim /opt /opt
RUN node --version && npm --version
RUN sed -i '/^moatuser:/d;/^[^:]*:[^:]*:1000:/d' /etc/passwd \
 && sed -i '/^moatuser:/d' /etc/group \
 && echo 'moatuser:x:1000:1000::/home/moatuser:/bin/sh' >>/etc/passwd \
 && echo 'moatuser:x:1000:' >>/etc/group \
 && mkdir -p /home/moatuser /workspace \
 && chown 1000:1000 /home/moatuser /workspace
WORKDIR /workspace
ENV HOME=/home/moatuser
USER 1000:1000
ENTRYPOINT []
