# One place for every command; the work is in scripts/. Works as root, and as a user who may use sudo.
# `make` alone lists what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# The Postgres to build for and to test on.
PG_CONFIG ?= /usr/lib/postgresql/15/bin/pg_config
export PG_CONFIG

LAYERS := test-core test-pg test-regress test-isolation test-pairs test-pgtap test-wire test-docs test-examples test-monitoring test-image test-upgrade test-browser
# Names of single tests for a layer: make test-regress TESTS='credits webhooks'
TESTS ?=

help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z-]*:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing to build and test (apt, cargo-pgrx, cargo-deny)
	@scripts/deps.sh

build: deps ## build the extension, release, into target/package
	@scripts/build.sh

all: ## the same, with only what building needs: for who installs and does not test
	@scripts/deps.sh --build
	@scripts/build.sh

install: all ## copy the built extension into Postgres (only files that differ)
	@scripts/install.sh

uninstall: ## take the extension's files out of Postgres
	@scripts/install.sh --remove

installcheck: ## does the installed extension work? In the server that libpq finds (PGHOST, PGPORT ...)
	@scripts/installcheck.sh

demo: install ## a story in a throwaway cluster: webhooks in, credits out
	@scripts/demo.sh

psql: install ## a prompt in a throwaway cluster with the demo's data
	@scripts/demo.sh --psql

test: install ## every test layer but test-long
	@MAKE='$(MAKE)' scripts/test.sh $(LAYERS)

test-core: deps ## the pure domain crate: unit and property tests
	@scripts/test_cargo.sh test-core --package billing_core $(TESTS)

test-pg: deps ## tests written in Rust that run inside a server
	@scripts/test_pg.sh $(TESTS)

test-regress: install ## golden tests: SQL and its accepted answers
	@scripts/test_regress.sh regress $(TESTS)

test-isolation: install ## concurrent sessions, interleaved step by step
	@scripts/test_regress.sh isolation $(TESTS)

test-pairs: install ## every two writing functions at once, a sample; PAIRS=all for every permutation
	@scripts/test_pairs.sh $(or $(PAIRS),sample) $(TESTS)

test-pgtap: install ## roles and privileges, on plain Postgres and on a Supabase-like one
	@scripts/test_pgtap.sh $(TESTS)

test-wire: install ## client programs against a real server: races, crashes, upgrades
	@scripts/test_cargo.sh test-wire --release --manifest-path tests/wire/Cargo.toml $(TESTS)

test-docs: install ## the SQL in README.md and docs/, what it prints, and links
	@scripts/test_docs.sh $(TESTS)

test-examples: install ## the programs in examples/, against fakes of the providers
	@scripts/test_examples.sh $(TESTS)

test-image: install ## what the container image is built from and does at its first start; no engine is needed
	@scripts/test_image.sh

test-monitoring: install ## metrics read by others' parsers; examples/monitoring and examples/psql
	@scripts/test_monitoring.sh $(TESTS)

test-prometheus: install ## Prometheus itself (Debian's, fetched into target/) scrapes examples/monitoring
	@scripts/test_prometheus.sh

test-upgrade: install ## from every release to this: same catalogue as a fresh install, every row kept
	@scripts/test_upgrade.sh $(TESTS)

test-pg-upgrade: build ## books on Postgres 15 through pg_upgrade to Postgres 17, in a root folder of its own (needs root)
	@scripts/pg_upgrade.sh

deb: all ## a Debian package of the extension, into target/deb
	@scripts/deb.sh

test-deb: deb ## that package in a clean Debian: install, use, upgrade, remove (needs root)
	@scripts/test_deb.sh

pgxn: ## the archive for the PostgreSQL Extension Network, into target/pgxn
	@scripts/pgxn.sh

test-pgxn: pgxn ## that archive built and installed by PGXN's own client, elsewhere
	@scripts/pgxn.sh --test

matrix: install ## the extension on Postgres 14 to 18, in root folders of their own (needs root); MAJORS='17 18'
	@scripts/matrix.sh $(MAJORS)

test-browser: install ## the dashboard in Chromium: light and dark, narrow and wide; pictures in target/dashboard
	@scripts/test_browser.sh

pictures: install ## make the pictures of the dashboard in docs/images anew
	@scripts/test_browser.sh --pictures

test-long: install ## the same for longer: wire tests with BILLING_LONG=1, many more property cases
	@PROPTEST_CASES=$${PROPTEST_CASES:-20000} ORDERS_LENGTH=$${ORDERS_LENGTH:-5} scripts/test_cargo.sh test-core --release --package billing_core
	@BILLING_LONG=1 scripts/test_cargo.sh test-wire-long --release --manifest-path tests/wire/Cargo.toml
	@scripts/test_pairs.sh all

torture: install ## 64 clients and every fault there is: make torture MINUTES=5 [SEED=n]
	@scripts/torture.sh '$(or $(MINUTES),1)' '$(SEED)'

corpus: install ## deliver your own event bodies to a throwaway database: make corpus DIR=folder
	@scripts/corpus.sh '$(DIR)'

accept_privileges := pgtap.sh
accept_docs := docs.sh
accept_reference := docs.sh --reference
accept_examples := examples.sh
accept: install ## make new golden results the expected ones, after showing the differences
	@scripts/test_$(or $(accept_$(KIND)),regress.sh $(or $(KIND),regress)) --accept $(TESTS)

check: build ## format, lints (of Rust and of SQL), licences, documentation of the code
	@scripts/check.sh

fuzz: ## look for input that breaks a parser: FUZZ_SECONDS=10 per target, TESTS='stripe json', SEEDS=dir
	@scripts/fuzz.sh $(TESTS)

mutants: deps ## small changes to core, one at a time: does a test see each? (half an hour or more)
	@scripts/mutants.sh $(MUTANTS_ARGS)

faults: deps ## planted faults, one at a time: does its test see each? (half an hour); TESTS='some names'
	@scripts/faults.sh $(TESTS)

bench: install ## how fast it is, on a durable cluster
	@scripts/bench.sh $(BENCH_ARGS)

profile: install ## where the time of a call goes: make profile PROFILE_ARGS='webhook 10' (purchase, spend, replay, webhook; seconds)
	@scripts/profile.sh $(PROFILE_ARGS)

book: ## the pages of docs/ as a book, in target/book
	@scripts/book.sh

release-check: build ## say what a release of this version still needs
	@scripts/release.sh check

release-freeze: build ## keep the install and upgrade scripts of this version for ever
	@scripts/release.sh freeze

clean: ## remove everything built, stopping clusters left behind
	@scripts/cluster.sh sweep --all
	@! compgen -G 'target/clusters/*/data' || { echo 'clean: a cluster is still in use; stop what uses it first'; exit 1; }
	@[ ! -d target/roots ] || scripts/roots.sh --remove
	@rm -rf target

# Every target that the list above shows.
TARGETS := $(shell sed -n 's/^\([a-z][a-z-]*\):.* \#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))
.PHONY: $(TARGETS)
# Tests need more than an installation does.
$(filter test test-% accept torture corpus bench profile matrix,$(TARGETS)): deps
