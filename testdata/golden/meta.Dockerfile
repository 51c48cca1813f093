# Made by moat.
FROM node:22-bookworm-slim
USER root
RUN npm install --global --no-audit --no-fund --cache /tmp/npm eslint prettier typescript \
 && rm -rf /tmp/npm
RUN sed -i '/^moat:/d;/^[^:]*:[^:]*:1000:/d' /etc/passwd \
 && sed -i '/^moat:/d' /etc/group \
 && echo 'moat:x:1000:1000::/home/moat:/bin/sh' >>/etc/passwd \
 && echo 'moat:x:1000:' >>/etc/group \
 && mkdir -p /home/moat /workspace \
 && chown 1000:1000 /home/moat /workspace
WORKDIR /workspace
ENV HOME=/home/moat
USER 1000:1000
ENTRYPOINT []
