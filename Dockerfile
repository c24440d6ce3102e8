# For amd64 and arm64: docs/releasing.md. By digest for a build that is to be repeated.
ARG BUILD_IMAGE=rust:1.95-alpine

# The last stage has no C library, so the binary must bring its own. musl is made to be linked statically; glibc is not
# (its name resolution loads NSS modules at run time). On Alpine, musl is the native target of every architecture.
FROM ${BUILD_IMAGE} AS build

# linux-headers: aws-lc reads <linux/random.h>; python3: the list of what is inside. Alpine drops old package versions, so
# pinned ones stop building.
# hadolint ignore=DL3018
RUN apk add --no-cache ca-certificates linux-headers musl-dev python3

WORKDIR /src
COPY . .
ARG TARGETARCH
# The commit, which `--version` says: there is no clone here.
ARG REVISION=unknown
# The same sources give the same layer, whenever it is built: C compilers write this in the place of the time.
ARG SOURCE_DATE_EPOCH=0
# The cache mounts keep compiled dependencies from build to build, those of each architecture apart; target/ is therefore not
# part of the layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    SIDEBEARER_COMMIT="$REVISION" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" cargo build --release --locked --target-dir "target/$TARGETARCH" && \
    mkdir -p /image/etc/ssl/certs /image/usr/share/doc/sidebearer && \
    cp "target/$TARGETARCH/release/sidebearer" /image/sidebearer && \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ && \
    python3 deploy/sbom.py "$(rustc --print host-tuple)" >/image/usr/share/doc/sidebearer/sbom.cdx.json
RUN find /image -exec touch -d "@$SOURCE_DATE_EPOCH" {} +

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sidebearer" \
      org.opencontainers.image.description="A sidecar and reverse proxy that gives unmodified services OAuth 2.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /image/ /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532
# Fails the build if the binary needs anything that is not here.
RUN ["/sidebearer", "--help"]
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/sidebearer", "health"]
ENTRYPOINT ["/sidebearer"]
CMD ["run"]
