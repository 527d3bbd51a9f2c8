#!/usr/bin/env bash
# Builds the release library and the install script into target/package, unless what is there was built from
# exactly these sources with exactly these tools.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pg_paths
cd "$ROOT" || exit

PACKAGE=$TARGET/package
STAMP=$TARGET/package.inputs

# Contents rather than times: a checkout changes times without changing anything, and a removed file counts.
inputs() {
  {
    rustc -V
    cargo pgrx --version
    "$PG_CONFIG" --version --bindir --pkglibdir --sharedir
    find . -maxdepth 1 -type f \( -name 'Cargo.*' -o -name 'rust-toolchain*' -o -name '*.control' \) -print0 |
      sort -z | xargs -0 sha256sum
    find src core sql -type f ! -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}

# Beside the install script: those of earlier releases, and the ways from one to the next. An upgrade that is not
# released yet is put together from what changes the schema (sql/upgrade) and from the files that say, in a fresh
# install too, how everything is described and who may use it.
scripts_of_releases() { # scripts_of_releases FOLDER
  local folder=$1 changes released
  # The order of statements in an install script is not stable, so that of lines does not count here.
  for released in sql/releases/*.sql; do
    [[ ! -f $folder/${released##*/} ]] || cmp -s <(sort "$released") <(sort "$folder/${released##*/}") ||
      die "the schema has changed, and ${released##*/} is released" \
        "Raise the version in Cargo.toml, and write what changes into sql/upgrade/."
    cp "$released" "$folder/"
  done
  for changes in sql/upgrade/*--*.sql; do
    [[ ! -f $folder/$EXTENSION--${changes##*/} ]] || continue
    cat sql/upgrade/begin.sql "$changes" sql/audit.sql sql/comments.sql sql/access.sql >"$folder/$EXTENSION--${changes##*/}"
  done
}

if built_without_us; then
  note "build: there is no Rust here, so what was built before is taken as it is"
  exit 0
fi
package_lock
now=$(inputs)
if [[ -d $PACKAGE && -f $STAMP && $(<"$STAMP") == "$now" ]]; then
  exit 0
fi

say "build: the extension, release, for $("$PG_CONFIG" --version) (about three minutes the first time)"
start=$SECONDS
rm -rf "$PACKAGE.new" "$STAMP"
log=$TARGET/package.log
if ! cargo pgrx package --pg-config "$PG_CONFIG" --no-default-features --features "pg$PG_MAJOR" --out-dir "$PACKAGE.new" >"$log" 2>&1 9>&-; then
  cat "$log" >&2
  die "the build failed; what the compiler said is above and in $log"
fi
scripts_of_releases "$PACKAGE.new$PG_SHARE/extension"
rm -rf "$PACKAGE"
mv "$PACKAGE.new" "$PACKAGE"
# Sources may have changed while the compiler ran: then the stamp must not claim them.
if [[ $(inputs) == "$now" ]]; then
  printf '%s\n' "$now" >"$STAMP"
else
  note "build: sources changed during the build; the next run builds again"
fi
say "build: done in $((SECONDS - start)) s"
