#!/usr/bin/env bash
# Copies target/package into the folders of Postgres: each file only if it differs from the one installed, so a
# second run copies nothing, and another checkout's files are noticed. Usage: install.sh [--remove]
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pg_paths

package_lock
[[ -d $TARGET/package ]] || die "nothing is built yet" "Run 'make install', which builds first."

# Prints "<built file> <installed file> <mode>" for each file of the package.
files() {
  local file
  find "$TARGET/package" -type f | sort | while IFS= read -r file; do
    case $file in
      *.so) printf '%s\t%s\t0755\n' "$file" "$PG_LIB/${file##*/}" ;;
      *) printf '%s\t%s\t0644\n' "$file" "$PG_SHARE/extension/${file##*/}" ;;
    esac
  done
}

# Root only where the folder asks for it.
into() { # into FOLDER COMMAND...
  local folder=$1
  shift
  if [[ -w $folder ]]; then "$@"; else as_root "$@"; fi
}

copied=0
while IFS=$'\t' read -r built installed mode; do
  if [[ ${1:-} == --remove ]]; then
    [[ ! -e $installed ]] || into "$(dirname "$installed")" rm -f "$installed"
    continue
  fi
  cmp -s "$built" "$installed" && continue
  # First beside, then renamed: a running server keeps the library it has mapped.
  into "$(dirname "$installed")" install -m "$mode" "$built" "$installed.new" </dev/null
  into "$(dirname "$installed")" mv -f "$installed.new" "$installed" </dev/null
  copied=$((copied + 1))
done < <(files)

if [[ ${1:-} == --remove ]]; then
  say "uninstall: removed from $PG_LIB and $PG_SHARE/extension"
elif [[ $copied -gt 0 ]]; then
  say "install: $copied files into $PG_LIB and $PG_SHARE/extension"
fi
