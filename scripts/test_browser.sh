#!/usr/bin/env bash
# The dashboard in Chromium, headless: an empty database, one with about ten rows, a busy one, and one with markup in every text;
# light and dark, as wide as a phone, a tablet and a desk. Pictures of all go to target/dashboard.
# CHROMIUM chooses the browser.
# Usage: test_browser.sh [--pictures]   --pictures makes docs/images anew instead: a picture in each colour scheme
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/npm.sh
source "$(dirname "${BASH_SOURCE[0]}")/npm.sh"
pg_paths
cd "$ROOT" || exit

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v google-chrome || true)}
[[ -x $CHROMIUM ]] || die "there is no Chromium" "Run 'make deps', or set CHROMIUM to a browser of that family."
npm_packages browser tests/browser

out=$TARGET/dashboard
[[ ${1:-} != --pictures ]] || out=$TARGET/pictures
rm -rf "$out"
mkdir -p "$out"
cluster_start browser
psql=("$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -A -t)

page() { # page NAME [FILE...]: the page of a fresh database after these scripts, and the headers that go with it
  local name=$1 file
  "${psql[@]}" -d postgres -c "create database page_$name"
  "${psql[@]}" -d "page_$name" -c "create extension $EXTENSION"
  for file in "${@:2}"; do "${psql[@]}" -d "page_$name" -f "$file" >/dev/null; done
  "${psql[@]}" -d "page_$name" -o "$out/$name.html" -c "begin read only" -c "set local role billing_monitor" \
    -c "select billing_dashboard()" -c "\\o $out/$name.headers" -c "select current_setting('response.headers')" -c "commit"
}

if [[ ${1:-} == --pictures ]]; then
  page busy tests/browser/demo.sql
  (cd "$NPM" && node "$ROOT/tests/browser/pictures.mjs" "$out" "$CHROMIUM" "$ROOT/docs/images")
  exit
fi
page empty
page ten tests/browser/ten.sql
page busy tests/browser/demo.sql
page planted tests/browser/ten.sql tests/browser/planted.sql
status=0
(cd "$NPM" && node "$ROOT/tests/browser/test.mjs" "$out" "$CHROMIUM") || status=$?
passed=0 failed=1
[[ ! -f $out/result ]] || read -r passed failed <"$out/result"
[[ $status -eq 0 || $failed -gt 0 ]] || failed=1
record test-browser "$passed" "$failed"
say "test-browser: $passed passed, $failed failed; pictures are in $out"
exit "$status"
