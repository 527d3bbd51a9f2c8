#!/usr/bin/env bash
# Everything that can be said about the code without running it. Nothing is changed.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

failed=()
step() { # step NAME HINT COMMAND...
  local name=$1 hint=$2 start=$SECONDS
  shift 2
  if "$@"; then
    printf 'ok     %s (%d s)\n' "$name" $((SECONDS - start))
  else
    printf 'FAILED %s: %s\n' "$name" "$hint"
    failed+=("$name")
  fi
}

scripts() {
  local script
  for script in scripts/*.sh .ci/run docker/initdb/*.sh examples/*/*.sh examples/*/*/*.sh; do bash -n "$script" || return 1; done
  if command -v shellcheck >/dev/null; then shellcheck -x -P scripts scripts/*.sh docker/initdb/*.sh examples/*/*.sh examples/*/*/*.sh .ci/run; fi
}

dockerfile() { (source scripts/venv.sh && venv lint tests/lint/requirements.txt && "$VENV/bin/hadolint" --failure-threshold style Dockerfile); }
archive() { python3 scripts/pgxn_meta.py META.json && python3 scripts/pgxn_meta.py --self-test >/dev/null; }

# What was released stays as it was, whatever the sources become: databases out there were made by it.
releases() { (cd sql/releases && sha256sum --quiet --strict --check SHA256SUMS && [[ $(ls ./*.sql | wc -l) -eq $(wc -l <SHA256SUMS) ]]); }

step "scripts" "mend what is said above" scripts
step "releases" "scripts of a release never change; take the change back, and write an upgrade" releases
step "dockerfile" "mend what hadolint says above" dockerfile
step "META.json" "mend what is said above; PGXN takes no other" archive
step "format" "run 'cargo fmt --all'" cargo fmt --all --check
step "sql" "mend what pgspot and squawk say above" scripts/lint_sql.sh
step "clippy" "mend the warnings above" \
  cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
step "docs" "mend the doc comments named above" \
  env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --workspace --locked
step "deny" "see deny.toml" cargo deny --log-level error check bans licenses sources

# Crates with a workspace of their own. Nothing is linked here, so that libFuzzer need not be built.
export CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a
for crate in tests/wire tests/bench fuzz; do
  [[ -f $crate/Cargo.toml ]] || continue
  export CARGO_TARGET_DIR=$TARGET/${crate#tests/}
  step "format of $crate" "run 'cargo fmt --manifest-path $crate/Cargo.toml'" \
    cargo fmt --manifest-path "$crate/Cargo.toml" --check
  step "clippy of $crate" "mend the warnings above" \
    cargo clippy --quiet --manifest-path "$crate/Cargo.toml" --all-targets --locked -- -D warnings
done
# Also: docs/performance.md and its charts are what docs/performance.json says.
step "tests of tests/bench" "mend them; if page or charts differ, run scripts/bench.sh --render docs/performance.json" \
  env CARGO_TARGET_DIR="$TARGET/bench" cargo test --quiet --locked --manifest-path tests/bench/Cargo.toml

if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'check: failed: %s\n' "${failed[*]}"
  exit 1
fi
say "check: all good"
