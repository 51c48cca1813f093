# Made by moat.
FROM debian:bookworm-slim
USER root
COPY host-ca.crt /usr/local/share/ca-certificates/moat-host-ca.crt
ENV AWS_CA_BUNDLE=/usr/local/share/ca-certificates/moat-host-ca.crt \
    CARGO_HTTP_CAINFO=/usr/local/share/ca-certificates/moat-host-ca.crt \
    CURL_CA_BUNDLE=/usr/local/share/ca-certificates/moat-host-ca.crt \
    GIT_SSL_CAINFO=/usr/local/share/ca-certificates/moat-host-ca.crt \
    NODE_EXTRA_CA_CERTS=/usr/local/share/ca-certificates/moat-host-ca.crt \
    PIP_CERT=/usr/local/share/ca-certificates/moat-host-ca.crt \
    REQUESTS_CA_BUNDLE=/usr/local/share/ca-certificates/moat-host-ca.crt \
    SSL_CERT_FILE=/usr/local/share/ca-certificates/moat-host-ca.crt
RUN if ! command -v apt-get >/dev/null; then echo 'moat: the base image has no apt-get: it must be Debian-like' >&2; exit 1; fi \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates \
    jq \
 && rm -rf /var/lib/apt/lists/* \
 && update-ca-certificates
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

# ---- host-ca.crt ----
-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
