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
    sha256sum scripts/build.sh
    find src core sql -type f ! -path '*/target/*' -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}

# pgrx writes what an install script creates in an order that differs from build to build. Here it is one that never does: files of DDL as
# src/lib.rs names them, the functions by name, then the files that need functions. A package is the same bytes then, built anywhere.
in_one_order() { # in_one_order SCRIPT
  awk -v RS='/\\* </end connected objects> \\*/\n*' '
    {
      needs_functions = 0
      split($0, lines, "\n")
      for (n = 3; lines[n] ~ /^--( requires:|   [^ ]+)$/; n++) if (lines[n] ~ /::/) needs_functions = 1
      place = lines[2]; number = place; sub(/.*:/, "", number)
      if (NR == 1) key = "0"
      else if (lines[3] == "-- bootstrap") key = "1"
      else if (lines[3] == "-- finalize") key = "5"
      else if (place !~ /^-- src\/lib\.rs:/) key = "3 " lines[3]
      else key = (needs_functions ? "4 " : "2 ") sprintf("%06d", number)
      gsub(/\n/, "\001")
      if ($0 ~ /[^\001]/) printf "%s\t%s/* </end connected objects> */\001\n", key, $0
    }' "$1" | LC_ALL=C sort | cut -f 2- | tr '\001' '\n' >"$1.ordered"
  cmp -s <(sort "$1" | grep -v '^$') <(sort "$1.ordered" | grep -v '^$') || die "ordering the install script lost or made a line: $1.ordered"
  mv "$1.ordered" "$1"
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
in_one_order "$(compgen -G "$PACKAGE.new$PG_SHARE/extension/$EXTENSION--*.sql")"
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
