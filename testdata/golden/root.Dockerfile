# Made by moat.
FROM debian:bookworm-slim
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    jq \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /workspace
COPY hooks /usr/local/share/moat/hooks
RUN sh -e /usr/local/share/moat/hooks/post_build_root.sh
RUN sh -e /usr/local/share/moat/hooks/post_build.sh
ENTRYPOINT []

# ---- hooks/post_build.sh ----
id -u
# ---- hooks/post_build_root.sh ----
id -u