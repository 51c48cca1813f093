# Made by moat.
FROM debian:bookworm-20250101
USER root
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates \
    gcc \
    libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY --from=golang:1.25-bookworm /usr/local/go /usr/local/go
COPY --from=rust:1.90-slim-bookworm /usr/local /usr/local
ENV GOTOOLCHAIN="auto" \
    CARGO_HOME="/usr/local/cargo" \
    RUSTUP_HOME="/usr/local/rustup" \
    PATH=/usr/local/go/bin:/usr/local/cargo/bin:$PATH
RUN go version \
 && rustc --version && cargo --version
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
