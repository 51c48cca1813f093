# Made by moat.
FROM node:22-bookworm-slim
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates \
    curl \
    gnupg \
    jq \
    libbz2-1.0 \
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
    unzip \
    xz-utils \
    zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY --from=python:3.11-slim-bookworm /usr/local/bin /usr/local/bin
COPY --from=python:3.11-slim-bookworm /usr/local/include /usr/local/include
COPY --from=python:3.11-slim-bookworm /usr/local/lib /usr/local/lib
COPY --from=golang:1.25-bookworm /usr/local/go /usr/local/go
ENV UV_TOOL_DIR="/opt/uv/tools" \
    UV_TOOL_BIN_DIR="/usr/local/bin" \
    GOTOOLCHAIN="auto" \
    PATH=/usr/local/go/bin:$PATH
RUN python3 -c 'import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, uuid, zlib' && python3 -m pip --version \
 && go version
RUN arch=$(dpkg --print-architecture) \
 && dir=$(mktemp -d) \
 && cd "$dir" \
 && case $arch in amd64) target=x86_64-unknown-linux-musl ;; arm64) target=aarch64-unknown-linux-gnu ;; *) echo "moat: there is no ripgrep for $arch" >&2; exit 1 ;; esac \
 && curl -fsSL --retry 3 -o asset "https://github.com/BurntSushi/ripgrep/releases/download/14.1.1/ripgrep-14.1.1-$target.tar.gz" \
 && tar -xzf asset \
 && install -m 0755 "ripgrep-14.1.1-$target/rg" /usr/local/bin/rg \
 && find . -mindepth 1 -delete \
 && case $arch in amd64) target=x64 ;; arm64) target=aarch64 ;; *) echo "moat: there is no bun for $arch" >&2; exit 1 ;; esac \
 && curl -fsSL --retry 3 -o asset "https://github.com/oven-sh/bun/releases/download/bun-v1.1.38/bun-linux-$target.zip" \
 && unzip -q asset \
 && install -m 0755 "bun-linux-$target/bun" /usr/local/bin/bun \
 && find . -mindepth 1 -delete \
 && case $arch in amd64) target=amd64 ;; arm64) target=arm64 ;; *) echo "moat: there is no yq for $arch" >&2; exit 1 ;; esac \
 && curl -fsSL --retry 3 -o asset "https://github.com/mikefarah/yq/releases/download/v4.45.4/yq_linux_$arch" \
 && install -m 0755 "asset" /usr/local/bin/yq \
 && find . -mindepth 1 -delete \
 && cd / \
 && rm -rf "$dir"
RUN npm install --global --no-audit --no-fund --cache /tmp/npm typescript@5.9.2 \
 && rm -rf /tmp/npm
RUN PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install --no-cache-dir uv==0.11.6
RUN uv tool install --no-cache ruff==0.14.1
RUN GOBIN=/usr/local/bin GOPATH=/tmp/go GOCACHE=/tmp/go-cache GOFLAGS=-modcacherw go install golang.org/x/tools/gopls@v0.20.0 \
 && rm -rf /tmp/go /tmp/go-cache
COPY install /usr/local/share/moat/install
RUN arch=$(dpkg --print-architecture) && case $arch in amd64|arm64) ;; *) echo "moat: not for $arch" >&2; exit 1 ;; esac \
 && VERSION=3.16.0 ARCH="$arch" sh -eu /usr/local/share/moat/install/helm.sh
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

# ---- install/helm.sh ----
archive="helm-v$VERSION-linux-$ARCH.tar.gz"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
curl -fsSL --retry 3 -o "$archive" "https://get.helm.sh/$archive"
curl -fsSL --retry 3 -o "$archive.sha256sum" "https://get.helm.sh/$archive.sha256sum"
grep "  $archive\$" "$archive.sha256sum" | sha256sum -c -
tar -xzf "$archive" --no-same-owner
install -m 755 "linux-$ARCH/helm" /usr/local/bin/helm
