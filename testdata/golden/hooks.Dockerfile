# Made by moat.
FROM debian:bookworm-slim
USER root
RUN sed -i '/^moatuser:/d;/^[^:]*:[^:]*:1000:/d' /etc/passwd \
 && sed -i '/^moatuser:/d' /etc/group \
 && echo 'moatuser:x:1000:1000::/home/moatuser:/bin/sh' >>/etc/passwd \
 && echo 'moatuser:x:1000:' >>/etc/group \
 && mkdir -p /home/moatuser /workspace \
 && chown 1000:1000 /home/moatuser /workspace
WORKDIR /workspace
COPY hooks /usr/local/share/moat/hooks
RUN sh -e /usr/local/share/moat/hooks/post_build_root.sh
ENV HOME=/home/moatuser
USER 1000:1000
RUN sh -e /usr/local/share/moat/hooks/post_build.sh
ENTRYPOINT []

# ---- hooks/post_build.sh ----
echo 'as the user' > ~/note
true

# ---- hooks/post_build_root.sh ----
apt-get install -y tree