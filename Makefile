# Belfry: what a developer runs. `make help` lists it.

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION    ?= $(shell git rev-parse HEAD 2>/dev/null)
BINARY      ?= bin/belfry
# sqlite has apps_from read SQLite as well, for 4 MB more.
TAGS        ?=
# What belfry is vetted for and released for, as GOOS/GOARCH.
PLATFORMS   := linux/amd64 linux/arm64 darwin/arm64 windows/amd64
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
NFPM        := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
PEBBLE      := github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.3
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@latest
# Runs of each target. With a time, such as 1m, the fuzzer sometimes fails at its end.
FUZZTIME    ?= 10000x
BENCH       ?=
ROUNDS      ?= 3
CHROMIUM    := /usr/bin/chromium
# What the tests need beyond Go, Node and make, as program:package of Debian.
NEEDS       := $(CHROMIUM):chromium redis-server:redis-server redis-cli:redis-tools \
               nginx:nginx caddy:caddy haproxy:haproxy apache2:apache2 curl:curl openssl:openssl mkcert:mkcert \
               promtool:prometheus buildah:buildah runc:runc zip:zip wget:wget shellcheck:shellcheck lintian:lintian \
               rpm:rpm busybox:busybox-static systemd-analyze:systemd man:man-db \
               pg_lsclusters:postgresql mariadbd:mariadb-server pgbouncer:pgbouncer

export PATH := $(PATH):/usr/sbin

.PHONY: help run build cross release dist-test test needs unit histories lint deploy fuzz e2e demo demo-cluster bench vuln clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: build ## build and run the server with config.example.yaml on 127.0.0.1:8080
	bin/belfry serve --config config.example.yaml

# The same source, version and revision make the same bytes, in any directory, and from
# an archive of the source as well: hence no -buildvcs.
build: ## build bin/belfry, static and reproducible; GOOS, GOARCH and BINARY=path for another, TAGS=sqlite for SQLite
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags '$(TAGS)' \
	  -ldflags "-s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)" -o $(BINARY) ./cmd/belfry

cross: ## go vet of everything, tests included, and go build for the systems of a release
	@set -e; for platform in $(PLATFORMS); do \
	  echo "$$platform"; export CGO_ENABLED=0 GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
	  go vet -trimpath ./... && go build -trimpath ./...; done

release: ## make dist/: archives, packages for Linux, SBOMs and checksums (needs zip)
	@VERSION='$(VERSION)' REVISION='$(REVISION)' PLATFORMS='$(PLATFORMS)' NFPM=$(NFPM) CYCLONEDX=$(CYCLONEDX) \
	  deploy/release/release.sh

# Installs the packages below a systemd of their own, for which it has to be root.
dist-test: needs release ## install and run what a release consists of
	go vet -tags dist ./deploy/...
	go run $(STATICCHECK) -tags dist ./deploy/...
	go test -tags dist -count=1 ./deploy/release ./deploy/packages

test: needs lint cross unit deploy dist-test fuzz e2e ## everything that CI runs; installs what it lacks from Debian's packages

# As root, or by sudo without a password; else the line to run is printed.
needs:
	@command -v npm >/dev/null || { echo "the tests need Node 20 with npm"; exit 1; }
	@missing=; for need in $(NEEDS); do \
	  command -v $${need%:*} >/dev/null || missing="$$missing $${need#*:}"; done; \
	test -n "$$missing" || exit 0; \
	if test "$$(id -u)" = 0; then as=env; elif sudo -n true 2>/dev/null; then as="sudo -n env"; \
	else echo "the tests need these packages: apt-get install$$missing"; exit 1; fi; \
	$$as DEBIAN_FRONTEND=noninteractive apt-get update -q && \
	$$as DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $$missing \
	  || { echo "the tests need these packages: apt-get install$$missing"; exit 1; }

unit: ## Go tests with the race detector, once more for systems without epoll
	go test -race ./...
	go test -race -tags blocking ./server ./server/websocket
	go test -race -tags sqlite ./server/apps/source
	$(MAKE) histories SEED=1

# Variables given to make are in the environment of the tests, which read more of
# them: see Run in channels/cluster/clustertest/histories.
histories: ## random histories of a cluster, 2,000 in memory and 50 over Redis, or HISTORIES=n SEED=s
	HISTORIES=$(or $(HISTORIES),2000) go test -count=1 -timeout 0 -v -run '^TestHistories$$' ./channels/cluster/local
	HISTORIES=$(or $(HISTORIES),50) go test -count=1 -timeout 0 -v -run '^TestHistories$$' ./channels/cluster/redis

lint: ## gofmt, go vet, staticcheck, actionlint
	@unformatted=$$(gofmt -s -l $$(git ls-files -co --exclude-standard '*.go')); \
	  test -z "$$unformatted" || { echo "gofmt -s -w these: $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go vet -tags sqlite ./server/apps/source
	go run $(STATICCHECK) -tags sqlite ./server/apps/source
	go run $(ACTIONLINT)

# The tests read files outside of their module, which go test does not know of.
deploy: ## what deploy/ has for Docker and Kubernetes, as their own libraries read it
	cd deploy/test && go vet ./... && go test -count=1 ./...

# go test fuzzes one target of one package at a time.
fuzz: ## each fuzz target for FUZZTIME
	@set -e; for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package >/tmp/belfry-fuzz.log 2>&1 \
	      || { cat /tmp/belfry-fuzz.log; exit 1; }; \
	  done; done

e2e: needs build bin/pebble e2e/node_modules examples/chat/dist ## real clients against the real binary
	cd e2e && node --test

# An authority for certificates.
bin/pebble: Makefile
	GOBIN=$(CURDIR)/bin go install $(PEBBLE)

e2e/node_modules: e2e/package-lock.json
	cd e2e && npm ci --no-audit --no-fund
	@touch $@

examples/chat/node_modules: examples/chat/package-lock.json
	cd examples/chat && npm ci --no-audit --no-fund
	@touch $@

examples/chat/dist: examples/chat/node_modules $(wildcard examples/chat/web/*) clients/recover/index.js
	cd examples/chat && npm run build
	@touch $@

demo: build examples/chat/dist ## the support-chat example at http://127.0.0.1:8000, with a server of its own (needs npm)
	@go build -o bin/chat ./examples/chat
	@examples/chat/run.sh

demo-cluster: build examples/chat/dist ## the same on two nodes, with Redis between and nginx in front (needs both, and npm)
	@go build -o bin/chat ./examples/chat
	@examples/cluster/run.sh

bench: build bench/node_modules ## measure Belfry beside Bun; BENCH=fanout, idle, http, churn, storm, tls, latency, fallback, presence, restart, history, console or cluster for one; ROUNDS=5 for the record
	go build -o bin/bench ./bench
	bin/bench -only "$(BENCH)" -rounds $(ROUNDS)

bench/node_modules: bench/package-lock.json
	cd bench && npm ci --no-audit --no-fund
	@touch $@

vuln: ## known vulnerabilities in what we depend on (needs the internet)
	go run $(GOVULNCHECK) ./...

clean: ## remove what was built
	rm -rf bin dist examples/chat/dist e2e/node_modules examples/chat/node_modules bench/node_modules
