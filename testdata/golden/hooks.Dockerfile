# Made by moat.
FROM debian:bookworm-slim
USER root
RUN sed -i '/^moat:/d;/^[^:]*:[^:]*:1000:/d' /etc/passwd \
 && sed -i '/^moat:/d' /etc/group \
 && echo 'moat:x:1000:1000::/home/moat:/bin/sh' >>/etc/passwd \
 && echo 'moat:x:1000:' >>/etc/group \
 && mkdir -p /home/moat /workspace \
 && chown 1000:1000 /home/moat /workspace
WORKDIR /workspace
COPY hooks /usr/local/share/moat/hooks
RUN sh -e /usr/local/share/moat/hooks/post_build_root.sh
ENV HOME=/home/moat
USER 1000:1000
RUN sh -e /usr/local/share/moat/hooks/post_build.sh
ENTRYPOINT []

# ---- hooks/post_build.sh ----
echo 'as the user' > ~/note
true

# ---- hooks/post_build_root.sh ----
apt-get install -y tree