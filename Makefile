# The daily commands. CI runs the parts of .ci/run, which says what each does.
.PHONY: help run build test check fix golden image

help: ## shows this
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

run: ## runs Caddyfile.example
	go run -v ./cmd/caddy run --config Caddyfile.example

build: ## builds ./caddy with all packages
	go build -o caddy ./cmd/caddy

test: ## runs the tests, and lists those that were skipped with the Debian packages that they need
	.ci/test

check: ## runs all that has to hold before a change goes in; installs Debian packages
	.ci/run

fix: ## formats, and sorts imports
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 fmt ./...

golden: ## writes golden files and the generated parts of docs/ anew; look at the diff
	go test . -run 'Golden|OutageDrill' -update
	go test ./e2e -run 'Admin|Check|Doctor|Init|Mistakes' -update
	go test ./docs -run 'Compatibility|PrometheusRule' -update

image: ## builds the image caddy-frappe
	docker build -t caddy-frappe --build-arg VERSION=$$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) .
