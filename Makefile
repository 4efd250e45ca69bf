# What can be done here, most of it in one word. `make help` lists it.

TOOL = go tool -modfile=tools/go.mod
FUZZTIME ?= 60s
ARGS ?=

.DEFAULT_GOAL := help

.PHONY: run
run: build ## build tokiflow and run the server on its defaults; further flags in ARGS
	bin/tokiflow serve $(ARGS)

.PHONY: build
build: ## build bin/tokiflow
	CGO_ENABLED=0 go build -trimpath -o bin/tokiflow ./cmd/tokiflow

.PHONY: test
test: ## run all tests on real services, which are installed and started where they are missing
	test/run.sh

.PHONY: test-fault
test-fault: ## kill tokiflow, PostgreSQL and Kafka under load and hold them to the promises (takes long)
	test/run.sh -tags=fault -count=1 -timeout=60m ./test/fault/...

.PHONY: check
check: format lint race ## everything a change must pass: format, fix, lint, tests with the race detector

.PHONY: race
race:
	test/run.sh -race -shuffle=on ./...

.PHONY: format
format: ## say which files gofumpt, goimports or go fix would change
	@written=$$(git ls-files --cached --others --exclude-standard '*.go' ':!*.gen.go') ; \
	changed=$$($(TOOL) gofumpt -l $$written ; $(TOOL) goimports -l -local github.com/tokiflow/tokiflow $$written) ; \
	if [ -n "$$changed" ]; then echo "to be formatted:"; echo "$$changed"; exit 1; fi
	@fixes=$$(go fix -diff ./... 2>&1) ; if [ -n "$$fixes" ]; then echo "$$fixes"; exit 1; fi

.PHONY: lint
lint: ## go vet and golangci-lint
	go vet ./...
	$(TOOL) golangci-lint run

.PHONY: vuln
vuln: ## look for known vulnerabilities, where the database of them can be reached
	$(TOOL) govulncheck ./...

.PHONY: verify
verify: ## what is generated is up to date: SQL, OpenAPI, configuration reference, modules
	CGO_ENABLED=0 $(TOOL) sqlc diff
	CGO_ENABLED=0 $(TOOL) sqlc vet
	go run ./cmd/tokiflow reference | diff -u docs/configuration.md -
	go test -count=1 -run TestTheDocument ./api
	go test -count=1 .
	go mod verify

.PHONY: generate
generate: docs ## write everything that is generated
	CGO_ENABLED=0 $(TOOL) sqlc generate
	go test -count=1 -run TestTheDocument ./api -update

.PHONY: docs
docs: ## write docs/configuration.md
	go run ./cmd/tokiflow reference >docs/configuration.md.new && mv docs/configuration.md.new docs/configuration.md

.PHONY: bench
bench: build ## measure this machine; docs/benchmarks.md says how to read it
	test/bench.sh

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (60s) each
	test/fuzz.sh $(FUZZTIME)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
