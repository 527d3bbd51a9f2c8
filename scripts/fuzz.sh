#!/usr/bin/env bash
# Looks for input that breaks a parser of billing_core, by libFuzzer. Usage: fuzz.sh [TARGET...]
#   FUZZ_SECONDS=10      for each target
#   SEEDS=dir            files to start from beside fuzz/corpus, for instance real bodies
#   FUZZ_SANITIZER=none  address: five times slower; the code is safe Rust, so there is little to see
# New input is kept in target/fuzz-corpus for the next run; what breaks a target, in target/fuzz-finds.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

seconds=${FUZZ_SECONDS:-10}
sanitizer=${FUZZ_SANITIZER:-none}
if ! cargo fuzz --version >/dev/null 2>&1; then
  say "fuzz: installing cargo-fuzz (one to two minutes)"
  timed "cargo-fuzz" cargo_install cargo-fuzz
fi
# Sanitizers are options of the compiler that a released one takes only so.
[[ $sanitizer == none ]] || export RUSTC_BOOTSTRAP=1
fuzz=(--fuzz-dir fuzz --sanitizer "$sanitizer" --target-dir "$TARGET/fuzz")

known=()
for file in fuzz/fuzz_targets/*.rs; do known+=("$(basename "$file" .rs)"); done
[[ $# -gt 0 ]] || set -- "${known[@]}"
for target in "$@"; do
  [[ -f fuzz/fuzz_targets/$target.rs ]] || die "there is no target $target" "There are: ${known[*]}"
done
[[ -z ${SEEDS:-} || -d $SEEDS ]] || die "SEEDS=$SEEDS is no folder"

log=$TARGET/fuzz-build.log
mkdir -p "$TARGET"
cargo fuzz build "${fuzz[@]}" >"$log" 2>&1 || { cat "$log"; die "the targets do not build"; }

failed=()
for target in "$@"; do
  found=$TARGET/fuzz-corpus/$target finds=$TARGET/fuzz-finds/$target log=$TARGET/fuzz-$target.log
  mkdir -p "$found" "$finds"
  # libFuzzer writes new input into the first folder and only reads the others.
  status=0
  cargo fuzz run "${fuzz[@]}" "$target" "$found" "fuzz/corpus/$target" ${SEEDS:+"$SEEDS"} -- \
    -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -dict=fuzz/words.dict \
    -artifact_prefix="$finds/" -print_final_stats=1 >"$log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
  printf 'fuzz: %-12s %11s runs, %5s edges covered\n' "$target" "${runs:-?}" "${covered:-?}"
  if [[ $status -ne 0 ]]; then
    grep -A 3 'panicked at' "$log" || tail -n 20 "$log"
    failed+=("$target")
  fi
done

if [[ ${#failed[@]} -gt 0 ]]; then
  note "fuzz: broken: ${failed[*]}; the whole output is in target/fuzz-TARGET.log"
  note "      Copy the input from target/fuzz-finds/TARGET into fuzz/corpus/TARGET, under a name that says what"
  note "      it is: then 'make test-core TESTS=corpus' shows the same, and goes on doing so."
  exit 1
fi
say "fuzz: nothing found in $seconds s per target"
