#!/usr/bin/env bash
# Do the tests of billing_core see a mistake? cargo-mutants makes one small change at a time to a copy of the crate,
# and runs its tests, which are to fail. Usage: mutants.sh [arguments of cargo mutants]
#   --file core/src/charges.rs   one file
#   --shard 0/4                  a quarter of all
#   MUTANTS_JOBS=2               so many at a time
# Twice: quickly, then with more cases and the corpus of the fuzz targets for what was not seen. A mutant that stays
# unseen is an error, unless tests/mutants.md says why it may. Everything that came out is in target/mutants.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

OUT=$TARGET/mutants
EXPLAINED=$ROOT/tests/mutants.md
LEAST=95 # percent

# Each mutant is built in a folder of its own.
unset CARGO_TARGET_DIR
# The same input every time: a mutant that is seen today is seen tomorrow. And a first failure is enough, it need not be
# made small.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20260101} PROPTEST_MAX_SHRINK_ITERS=0
# Built fourteen hundred times, run once each.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0

if ! cargo mutants --version >/dev/null 2>&1; then
  say "mutants: installing cargo-mutants (two to four minutes)"
  timed "cargo-mutants" cargo_install cargo-mutants
fi

# Leaves what came of it in $OUT/NAME.caught, .missed, .timeout and .unviable.
pass() { # pass NAME ARGUMENTS
  local name=$1 status=0 kind
  shift
  cargo mutants --package billing_core --jobs "${MUTANTS_JOBS:-2}" --output "$OUT" --colors never --no-shuffle "$@" || status=$?
  # 2: some were missed; 3: some took too long. Both are judged below.
  [[ $status -eq 0 || $status -eq 2 || $status -eq 3 ]] || die "cargo mutants failed ($status)"
  for kind in caught missed timeout unviable; do cp "$OUT/mutants.out/$kind.txt" "$OUT/$name.$kind"; done
}

rm -rf "$OUT"
mkdir -p "$OUT"
for kind in caught missed timeout unviable; do : >"$OUT/second.$kind"; done
PROPTEST_CASES=32 ORDERS_LENGTH=2 pass first --cargo-arg=--lib "$@"
if [[ -s $OUT/first.missed || -s $OUT/first.timeout ]]; then
  PROPTEST_CASES=256 ORDERS_LENGTH=3 pass second --iterate "$@" -- --lib --test corpus
fi

# A mutant by its file, its change and the line that it is in: line numbers move.
names() {
  local file line column change
  while IFS=: read -r file line column change; do
    printf '%s:%s: `%s`\n' "$file" "$change" "$(sed -n "${line}s/^ *//p" "$file")"
  done <"$1"
}
count() { cat "$@" | wc -l; }
caught=$(count "$OUT"/{first,second}.caught)
late=$(count "$OUT/second.timeout")
missed=$(count "$OUT/second.missed")
unviable=$(count "$OUT/first.unviable")
seen=$((caught + late)) all=$((caught + late + missed))
[[ $all -gt 0 ]] || die "there was no mutant"
unexplained=$(names "$OUT/second.missed" | grep -vxFf <(sed -n 's/^- //p' "$EXPLAINED") || true)
say "mutants: $((all + unviable)): $caught caught, $late ran too long, $missed not seen, $unviable do not build"
say "mutants: $(awk -v seen="$seen" -v all="$all" 'BEGIN { printf "%.1f", 100 * seen / all }') % of those that build are seen"
if [[ -n $unexplained ]]; then
  printf '%s\n' "$unexplained" | sed 's/^/mutants: not seen: /' >&2
  note "mutants: write the test that sees it, or say in tests/mutants.md why none can"
  exit 1
fi
[[ $((100 * seen)) -ge $((LEAST * all)) ]] || die "less than $LEAST % are seen"
