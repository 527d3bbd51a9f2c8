#!/usr/bin/env bash
# Runs the test layers one after the other, every one even if an earlier failed, and adds up what they say.
# Usage: test.sh LAYER...   (each a target of the Makefile)
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT" || exit

rm -rf "$TARGET/results"
mkdir -p "$TARGET/results"
passed=0 failed=0 broken=()
summary=()
begin=$SECONDS
for layer in "$@"; do
  printf '\n== %s\n' "$layer"
  start=$SECONDS
  status=0
  "${MAKE:-make}" --no-print-directory "$layer" || status=$?
  [[ $status -ne 130 && $status -ne 143 ]] || exit "$status"
  good=0 bad=0
  [[ ! -f $TARGET/results/$layer ]] || read -r good bad <"$TARGET/results/$layer"
  # A layer that failed before it could count.
  [[ $status -eq 0 || $bad -gt 0 ]] || bad=1
  [[ $status -eq 0 ]] || broken+=("$layer")
  passed=$((passed + good)) failed=$((failed + bad))
  summary+=("$(printf '%-16s %6d passed %4d failed %5d s' "$layer" "$good" "$bad" $((SECONDS - start)))")
done

printf '\n'
printf '%s\n' "${summary[@]}"
[[ ${#broken[@]} -eq 0 ]] || printf 'to run one again: make %s\n' "${broken[@]}"
printf '\n%d passed, %d failed (%d layers, %d s)\n' "$passed" "$failed" $# $((SECONDS - begin))
[[ ${#broken[@]} -eq 0 && $failed -eq 0 ]]
