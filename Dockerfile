# syntax=docker/dockerfile:1
# Caddy with frappe-auth and all its packages.
#
#   docker build -t caddy-frappe --build-arg VERSION=v0.1.0 .
#   docker buildx build --platform linux/amd64,linux/arm64 -t caddy-frappe .
#
# The compiler runs on the machine that builds, and compiles for the one that the image is for: no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS
ARG TARGETARCH
# The version that `caddy frappe-auth version` says. There is no history in the context to take it from.
ARG VERSION
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	GOOS=$TARGETOS GOARCH=$TARGETARCH .ci/build /out/caddy
# The directories that the user of the image writes to; the last stage runs no command, so that it needs no emulation.
RUN mkdir -p /out/config /out/data /out/log

FROM alpine:3.22
LABEL org.opencontainers.image.title="frappe-auth" \
	org.opencontainers.image.description="Caddy that verifies API keys and OAuth tokens of Frappe and ERPNext" \
	org.opencontainers.image.source="https://github.com/caddy-frappe/frappe-auth" \
	org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chmod=0755 /out/caddy /usr/bin/caddy
# Until you mount a Caddyfile, every request gets this.
COPY <<EOF /etc/caddy/Caddyfile
:80 {
	respond "This Caddy has frappe-auth, but no Caddyfile yet. Mount yours at /etc/caddy/Caddyfile." 503
}
EOF
COPY --from=build --chown=1000:1000 /out/config /config
COPY --from=build --chown=1000:1000 /out/data /data
COPY --from=build --chown=1000:1000 /out/log /var/log/caddy
ENV XDG_CONFIG_HOME=/config \
	XDG_DATA_HOME=/data
# 1000 is also the user frappe of frappe_docker, who owns site_config.json.
USER 1000:1000
WORKDIR /data
VOLUME ["/config", "/data"]
EXPOSE 80 443 443/udp 2019
# Whether Caddy runs, not whether Frappe does: a Caddy is not to be restarted because the site is down.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
	CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:2019/frappe_auth/"]
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
