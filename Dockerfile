# A static binary in an empty image: nothing to patch, nothing to exploit.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -tags nomsgpack -ldflags '-s -w' -o /out/oap ./cmd/oap \
 && mkdir -p /out/data /out/tmp && chmod 0700 /out/data && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/oap /oap
USER 65532:65532
ENV HOST=0.0.0.0 PORT=8000 OAP_DB=/data/oap.db OAP_FILES=/data/files XDG_CACHE_HOME=/data/cache
EXPOSE 8000
VOLUME /data
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/oap", "healthcheck"]
ENTRYPOINT ["/oap"]
CMD ["serve"]
