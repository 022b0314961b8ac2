# What can be made here. Each target is a script that can be read and run by itself.

.PHONY: help build test demo demo-down bench bench-growth release docs audit

help: ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## the release binary that runs on any Linux from glibc 2.17 up
	scripts/build

test: ## every check: format, lints, dependencies, tests, fuzzing, end to end
	scripts/test

demo: ## bundle the standard edition's stand-ins and install them on nodes made here (KEEP=1 leaves them up)
	scripts/demo

demo-down: ## end what KEEP=1 left up
	scripts/demo down

bench: ## measure against what a user would pick instead; every bar must hold (about 15 minutes)
	scripts/bench

bench-growth: ## time and memory against images, blob sizes and nodes (no bound)
	scripts/bench growth

release: ## release binary with checksum, SBOM, man pages and completions, in target/release-out
	scripts/release

docs: ## rewrite what is generated under docs/
	scripts/docs

audit: ## look up known vulnerabilities of what we depend on (needs internet)
	scripts/audit
