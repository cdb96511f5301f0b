# Build with the whole toolchain, run with nothing but the binary and the roots, as a user without rights.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin otas-proxy

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /var/lib/otas-proxy otas \
 && install -d -o otas -g otas -m 0700 /var/lib/otas-proxy/data \
 && install -d -o otas -g otas -m 0755 /var/lib/otas-proxy/ca
COPY --from=build /src/target/dist/otas-proxy /usr/local/bin/otas-proxy
USER otas
COPY deploy/container.toml /etc/otas-proxy/proxy.toml
ENV OTAS_PROXY_CONFIG=/etc/otas-proxy/proxy.toml
VOLUME ["/var/lib/otas-proxy/data", "/var/lib/otas-proxy/ca"]
EXPOSE 8080 8081
ENTRYPOINT ["otas-proxy"]
CMD ["serve"]
