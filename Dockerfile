# Build with the whole toolchain, run with nothing but the binary and the roots, as a user without rights. `deploy/image.sh` builds
# the same image without Docker and without a base image: it makes the first stage's tree itself.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN deploy/build-static.sh /tree

FROM scratch
COPY --from=build /tree /
LABEL org.opencontainers.image.title="otas-proxy" \
      org.opencontainers.image.description="A transparent logging HTTP(S) forward proxy for AI agents" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
# SQLite's temporary files: there is no /tmp.
ENV OTAS_PROXY_CONFIG=/etc/otas-proxy/proxy.toml \
    SQLITE_TMPDIR=/var/lib/otas-proxy
VOLUME ["/var/lib/otas-proxy", "/run/otas-proxy"]
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=10s --start-period=30s --start-interval=1s CMD ["/usr/bin/otas-proxy", "healthcheck"]
ENTRYPOINT ["/usr/bin/otas-proxy"]
CMD ["serve"]
