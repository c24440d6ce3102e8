# The last stage has no C library, so the binary must bring its own. musl is made to be linked statically; glibc is not
# (its name resolution loads NSS modules at run time). On Alpine, musl is the native target of every architecture.
FROM rust:1.95-alpine AS build

# linux-headers: aws-lc reads <linux/random.h>. Alpine drops old package versions, so pinned ones stop building.
# hadolint ignore=DL3018
RUN apk add --no-cache ca-certificates linux-headers musl-dev

WORKDIR /src
COPY . .
# The cache mounts keep compiled dependencies from build to build; target/ is therefore not part of the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/sidebearer /sidebearer

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /sidebearer /sidebearer
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
# Fails the build if the binary needs anything that is not here.
RUN ["/sidebearer", "--help"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/sidebearer", "health"]
ENTRYPOINT ["/sidebearer"]
CMD ["run"]
