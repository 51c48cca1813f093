# Made by moat.
FROM debian:bookworm-slim
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    nodejs \
    npm \
    python-is-python3 \
    python3 \
    python3-pip \
    python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN npm install --global --no-audit --no-fund --cache /tmp/npm cowsay@1.6.0 \
 && rm -rf /tmp/npm
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --no-cache-dir cowsay==6.1
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
