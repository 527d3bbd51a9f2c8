#!/usr/bin/env bash
# Runs what the documentation shows: every ```sql block of README.md and docs/*.md, the blocks of one file in order,
# in one session of a fresh database. The extension is there, unless one of the file's own blocks creates it.
# A block fenced as ```sql skip=reason does not run. tests/docs/setup.sql, if there is one, runs before each file.
# Usage: test_docs.sh [FILE...]
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths
cd "$ROOT" || exit

files=("$@")
if [[ ${#files[@]} -eq 0 ]]; then
  mapfile -t files < <(find README.md docs -name '*.md' -type f 2>/dev/null | sort)
fi
need_tests test-docs "README.md and docs/" "${files[@]}"

# Prints the file's blocks as one psql script. Before each: a line that names it.
blocks() {
  awk '
    function fence(line) { sub(/^[ \t]+/, "", line); return line }
    !inside && fence($0) ~ /^```sql([ \t]|$)/ {
      info = fence($0); sub(/^```sql[ \t]*/, "", info)
      inside = 1; skip = info ~ /^skip=/
      if (skip) printf "\\echo ::skip %d %s\n", FNR, info
      else printf "\\echo ::block %d\n", FNR
      next
    }
    inside && fence($0) ~ /^```[ \t]*$/ { inside = 0; if (!skip) print ""; next }
    inside && !skip { print }
    END { if (inside) { print "a fence is not closed" > "/dev/stderr"; exit 1 } }
  ' "$1"
}

out=$TARGET/docs
rm -rf "$out"
mkdir -p "$out"
cluster_start docs
psql=("$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1)
passed=0 failed=0 skipped=0 number=0
for file in "${files[@]}"; do
  number=$((number + 1))
  script=$out/$number.sql log=$out/$number.log
  blocks "$file" >"$script" || die "$file: a \`\`\`sql block is not closed"
  total=$(grep -c '^\\echo ::block ' "$script" || true)
  skips=$(grep -c '^\\echo ::skip ' "$script" || true)
  skipped=$((skipped + skips))
  [[ $total -gt 0 ]] || continue

  export PGDATABASE=docs_$number
  "${psql[@]}" -d postgres -c "create database $PGDATABASE template template0"
  [[ ! -f tests/docs/setup.sql ]] || "${psql[@]}" -f tests/docs/setup.sql >/dev/null
  grep -Eiq "^ *create extension (if not exists )?$EXTENSION" "$script" ||
    "${psql[@]}" -c "create extension $EXTENSION"

  if (cd "$out" && "${psql[@]}" -f "$script" >"$log" 2>&1); then
    printf 'ok     %-44s %3d blocks\n' "$file" "$total"
    passed=$((passed + total))
  else
    reached=$(grep -c '^::block ' "$log" || true)
    line=$(sed -n 's/^::block //p' "$log" | tail -n 1)
    printf 'FAILED %s:%s, block %d of %d\n' "$file" "${line:-1}" "$reached" "$total"
    sed -n '/^::block '"${line:-1}"'$/,$p' "$log" | tail -n +2
    # The blocks after it were not reached: they did not pass either.
    passed=$((passed + (reached > 0 ? reached - 1 : 0)))
    failed=$((failed + total - (reached > 0 ? reached - 1 : 0)))
  fi
done
record test-docs "$passed" "$failed"
say "test-docs: $passed passed, $failed failed ($skipped blocks marked skip= not run)"
[[ $failed -eq 0 ]]
