# Made by moat.
FROM node:22-bookworm-slim
USER root
RUN npm install --global --no-audit --no-fund --cache /tmp/npm eslint prettier typescript \
 && rm -rf /tmp/npm
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
