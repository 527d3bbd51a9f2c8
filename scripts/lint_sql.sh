#!/usr/bin/env bash
# Lints the SQL that a superuser runs when he installs or upgrades: pgspot looks for names that somebody else could
# stand in for, squawk for statements that hold others up or cannot be taken back. Scripts of releases stay as they
# are, so only what is not released yet is judged.
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
pg_paths
cd "$ROOT" || exit

# Left out of squawk, each for a reason:
# require-lock-timeout, require-statement-timeout: how long an upgrade may wait is its user's to say, by SET
#   (docs/operations.md), and a SET in the script would override that.
# prefer-bigint-over-int: attempts, branches and interval_count are small by their checks.
EXCLUDED=require-lock-timeout,require-statement-timeout,prefer-bigint-over-int

# Left out of pgspot for upgrades: CREATE OR REPLACE of functions and views (PS002, PS015). Postgres refuses to replace what
# is no member of the extension, so nobody can have put something of his own there.
REPLACES=(--ignore PS002 --ignore PS015)

venv lint tests/lint/requirements.txt
folder=$TARGET/lint
rm -rf "$folder"
mkdir -p "$folder"
for script in "$TARGET/package$PG_SHARE/extension/$EXTENSION"--*.sql; do
  [[ -f sql/releases/${script##*/} ]] || cp "$script" "$folder/"
done
scripts=("$folder"/*.sql)

failed=0
for script in "${scripts[@]}"; do
  ignored=()
  [[ ${script##*/} != *--*--* ]] || ignored=("${REPLACES[@]}")
  "$VENV/bin/pgspot" ${ignored[@]+"${ignored[@]}"} "$script" >"$script.pgspot" || { say "pgspot: ${script##*/}" && cat "$script.pgspot"; failed=1; }
  # A warning is as bad as an error.
  grep -q 'Errors: 0 Warnings: 0 Unknown: 0' "$script.pgspot" || { cat "$script.pgspot"; failed=1; }
  # The placeholder is no SQL until CREATE EXTENSION fills it in.
  sed -i 's/@extschema@/extschema/g' "$script"
  "$VENV/bin/squawk" --assume-in-transaction --pg-version "$PG_MAJOR.0" --exclude "$EXCLUDED" --reporter gcc "$script" ||
    failed=1
done
exit "$failed"
