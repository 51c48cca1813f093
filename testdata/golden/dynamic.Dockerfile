# Made by moat.
FROM node:22-bookworm-slim
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates \
    gcc \
    libbz2-1.0 \
    libc6-dev \
    libdb5.3 \
    libexpat1 \
    libffi8 \
    libgdbm6 \
    liblzma5 \
    libncursesw6 \
    libnsl2 \
    libreadline8 \
    libsqlite3-0 \
    libssl3 \
    libtirpc3 \
    libuuid1 \
    libzstd1 \
    netbase \
    tzdata \
    zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=python:3.11-slim-bookworm /usr/local/bin /usr/local/bin
COPY --from=python:3.11-slim-bookworm /usr/local/include /usr/local/include
COPY --from=python:3.11-slim-bookworm /usr/local/lib /usr/local/lib
COPY --from=rust:1.90-slim-bookworm /usr/local /usr/local
COPY --from=golang:1.25-bookworm /usr/local/go /usr/local/go
ENV UV_TOOL_DIR="/opt/uv/tools" \
    UV_TOOL_BIN_DIR="/usr/local/bin" \
    CARGO_HOME="/usr/local/cargo" \
    RUSTUP_HOME="/usr/local/rustup" \
    GOTOOLCHAIN="auto" \
    PATH=/usr/local/cargo/bin:/usr/local/go/bin:$PATH
RUN python3 -c 'import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, uuid, zlib' && python3 -m pip --version \
 && rustc --version && cargo --version \
 && go version
RUN npm install --global --no-audit --no-fund --cache /tmp/npm @scope/tool@1.2.3 plain \
 && rm -rf /tmp/npm
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --no-cache-dir package[extra]==2.0 uv==0.11.6
RUN uv tool install --no-cache tool
RUN CARGO_HOME=/tmp/cargo cargo install --locked --root /usr/local crate@0.3.0 \
 && rm -rf /tmp/cargo
RUN GOBIN=/usr/local/bin GOPATH=/tmp/go GOCACHE=/tmp/go-cache GOFLAGS=-modcacherw go install example.org/cmd/other@latest \
 && GOBIN=/usr/local/bin GOPATH=/tmp/go GOCACHE=/tmp/go-cache GOFLAGS=-modcacherw go install example.org/cmd/tool@v1.0.0 \
 && rm -rf /tmp/go /tmp/go-cache
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
