# shellcheck shell=bash
# Packages from npm in a folder of their own under target/, installed once and again when the lock file changes, and
# TypeScript compiled there. Sourced, never run.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Sets NPM to the folder of NAME, which then holds what the package.json and package-lock.json of FOLDER pin.
npm_packages() { # npm_packages NAME FOLDER
  NPM=$TARGET/npm/$1
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    die "node or npm is not installed" "Run 'make deps', or install Node 18 or later."
  fi
  mkdir -p "$NPM"
  local log=$NPM.log start=$SECONDS inputs
  inputs=$({ node --version && cat "$2/package.json" "$2/package-lock.json"; } | sha256sum)
  [[ ! -f $NPM/packages.sha256 || $(<"$NPM/packages.sha256") != "$inputs" ]] || return 0
  say "npm: the packages of $2 into $NPM"
  rm -rf "$NPM"
  mkdir -p "$NPM"
  cp "$2/package.json" "$2/package-lock.json" "$NPM"
  (cd "$NPM" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) >"$log" 2>&1 ||
    { cat "$log" >&2; die "the packages of $2 could not be installed; what npm said is above" \
      "They come from npm's registry. Where it cannot be reached, name a mirror by npm_config_registry. Then run this again."; }
  printf '%s\n' "$inputs" >"$NPM/packages.sha256"
  say "npm: done in $((SECONDS - start)) s"
}

# Compiles all TypeScript of FOLDER and the files given, by FOLDER's tsconfig.json, into $NPM/js; only if something changed.
typescript() { # typescript FOLDER FILE...
  local src=$NPM/src inputs file
  inputs=$(find "$@" -name node_modules -prune -o \( -name '*.ts' -o -name tsconfig.json \) -type f -print0 | sort -z |
    xargs -0 sha256sum | sha256sum)
  [[ ! -f $NPM/js.sha256 || $(<"$NPM/js.sha256") != "$inputs" ]] || return 0
  rm -rf "$src" "$NPM/js" "$NPM/js.sha256"
  mkdir -p "$src"
  (cd "$1" && find . -name node_modules -prune -o \( -name '*.ts' -o -name tsconfig.json \) -type f -print0 |
    tar -c --null -T -) | tar -x -C "$src"
  for file in "${@:2}"; do cp "$file" "$src"; done
  cp "$NPM/package.json" "$src"
  node "$NPM/node_modules/typescript/bin/tsc" -p "$src" --outDir "$NPM/js" ||
    die "the TypeScript of $1 does not compile; what tsc said is above"
  printf '%s\n' "$inputs" >"$NPM/js.sha256"
}
