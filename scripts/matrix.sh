#!/usr/bin/env bash
# The extension on every Postgres that it can be had for, and a table of what came of it. Usage: matrix.sh [MAJOR...]
#
#   14   compiled only, against the bindings that pgrx ships: Debian has no headers of it by now
#   15   the one of this system (or of PG_CONFIG)
#   16   server and headers from the Python package pgserver, in a folder of their own, run as on this system
#   17   in a root folder of Debian 13 (scripts/roots.sh; needs root)
#   18   in a root folder of Debian's unstable (needs root)
#
# Each but 14: built against that Postgres' headers, CREATE EXTENSION, the smoke test, the golden tests, pgTAP's where it is to be had,
# and the upgrade of a database in use from every release that installs there. What cannot be had is left out, and the table says so.
# Exit status: 0 all that was run is well, 1 something is not.
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
# shellcheck source=scripts/roots.sh
source "$(dirname "${BASH_SOURCE[0]}")/roots.sh"
cd "$ROOT" || exit
WHO=matrix
OUT=$TARGET/matrix
COLUMNS=(compiled smoke goldens pgtap upgrade)
mkdir -p "$OUT"

cell() { # cell MAJOR COLUMN TEXT
  printf '%s\n' "$3" >"$OUT/$1.$2"
}
log_of() { printf '%s/%s.%s.log' "$OUT" "$1" "$2"; }

# Runs a step, and writes how it went into the table. What a layer counts ("12 passed, 0 failed") is worth more than a word.
step() { # step MAJOR COLUMN COMMAND...
  local major=$1 column=$2 log said
  log=$(log_of "$major" "$column")
  shift 2
  if "$@" >"$log" 2>&1 </dev/null; then
    said=$(sed -n 's/^test-[a-z-]*: \([0-9]* passed\), 0 failed.*/\1/p' "$log" | tail -n 1)
    cell "$major" "$column" "${said:-yes}"
    say "matrix: Postgres $major: $column: ${said:-yes}"
  else
    cell "$major" "$column" FAILED
    say "matrix: Postgres $major: $column: FAILED, see $log"
    grep -E 'ERROR|error|FAILED|^not ok|^# Fail' "$log" | head -n 20 >&2 || tail -n 20 "$log" >&2
    return 1
  fi
}

# Names of golden tests, or nothing for all of them: none that creates an extension which that Postgres lacks.
goldens() { # goldens MAJOR
  local name
  [[ $1 == 16 ]] || return 0
  for name in tests/pg_regress/sql/*.sql; do
    if grep -qi 'CREATE EXTENSION postgres_fdw' "$name"; then
      note "matrix: Postgres 16: left out: ${name##*/}: the Python package has no postgres_fdw"
    else
      basename "$name" .sql
    fi
  done
}

# What is done with an installed extension, the same for all. RUN is what stands before a command.
tests() { # tests MAJOR PGTAP RUN...
  local major=$1 pgtap=$2
  shift 2
  step "$major" smoke "$@" scripts/installcheck.sh --apart || true
  # shellcheck disable=SC2046 # names without spaces
  step "$major" goldens "$@" scripts/test_regress.sh regress $(goldens "$major") || true
  if [[ $pgtap == yes ]]; then step "$major" pgtap "$@" scripts/test_pgtap.sh || true; else cell "$major" pgtap "$pgtap"; fi
  step "$major" upgrade "$@" scripts/test_upgrade.sh --installable || true
  ! grep -q '^test-upgrade: no release installs' "$(log_of "$major" upgrade)" || cell "$major" upgrade "none of them installs there"
}

# What a build was made against goes into the table.
compiled() { # compiled MAJOR PG_CONFIG COMMAND...
  local major=$1 config=$2
  shift 2
  step "$major" compiled "$@" || return 1
  cell "$major" compiled "headers of $("$config" --version | sed -E 's/^PostgreSQL ([0-9.a-z]+).*/\1/')"
}

compiled_14() {
  local log
  log=$(log_of 14 compiled)
  # The build script leaves alone what it would need the headers for, as on docs.rs.
  if DOCS_RS=1 BILLING_BINDINGS=shipped RUSTC_WRAPPER=$ROOT/scripts/rustc.sh CARGO_TARGET_DIR=$TARGET/bindings \
    nice cargo check --quiet --lib --locked --no-default-features --features pg14 >"$log" 2>&1; then
    cell 14 compiled "bindings of pgrx"
    say "matrix: Postgres 14: compiles against the bindings that pgrx ships"
  else
    cell 14 compiled FAILED
    cat "$log" >&2
  fi
  cell 14 smoke "not run"
}

on_15() {
  compiled 15 "$PG_CONFIG" scripts/build.sh || return 0
  scripts/install.sh
  tests 15 yes
}

on_16() {
  local folder=$OUT/16 config
  (venv matrix tests/matrix/requirements.txt) >"$(log_of 16 venv)" 2>&1 ||
    left_out "Postgres 16: its Python package could not be installed (there is one for x86-64 only), see $(log_of 16 venv)"
  venv matrix tests/matrix/requirements.txt
  # Debian's programs for the tests, which the package lacks.
  pg_paths
  mkdir -p "$folder"
  if [[ ! -f $folder/made || $(<"$folder/made") != "$(<"$VENV/requirements.sha256")" ]]; then
    rm -rf "$folder/postgres"
    mkdir "$folder/postgres"
    # Its programs look for their libraries beside the package.
    cp -r "$VENV"/lib/python3*/site-packages/pgserver{,.libs} "$folder/postgres/"
    chmod +x "$folder/postgres/pgserver/pginstall/bin"/*
    cp "$VENV/requirements.sha256" "$folder/made"
  fi
  config=$folder/postgres/pgserver/pginstall/bin/pg_config
  pgrx_home "$folder/pgrx" "$config"
  compiled 16 "$config" build_apart "$folder" "$config" || return 0
  export PG_CONFIG=$config BILLING_TARGET=$folder/target PG_TOOLS
  scripts/install.sh >"$(log_of 16 install)"
  tests 16 "not to be had"
  export -n PG_TOOLS
  unset BILLING_TARGET
}

in_root() { # in_root MAJOR
  compiled "$1" "$FOLDER/pg_config" root_build "$1" || return 0
  local run=(root_run "PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config")
  "${run[@]}" scripts/install.sh >"$(log_of "$1" install)" || die "the files could not be installed, see $(log_of "$1" install)"
  tests "$1" yes "${run[@]}"
}
on_17() { root_trixie && in_root 17; }
on_18() { root_sid && in_root 18; }

table() { # table MAJOR...
  local major column
  printf '\n%-9s %-24s %-12s %-12s %-14s %s\n' Postgres compiled smoke goldens pgTAP "upgrade from releases"
  for major; do
    printf '%-9s' "$major"
    for column in "${COLUMNS[@]}"; do
      case $column in compiled) printf ' %-24s' "$(contents "$major" "$column")" ;; upgrade) printf ' %s' "$(contents "$major" "$column")" ;;
        pgtap) printf ' %-14s' "$(contents "$major" "$column")" ;; *) printf ' %-12s' "$(contents "$major" "$column")" ;; esac
    done
    printf '\n'
  done
}
contents() { if [[ -f $OUT/$1.$2 ]]; then cat "$OUT/$1.$2"; else printf -- '-'; fi; }

majors=("$@")
[[ ${#majors[@]} -gt 0 ]] || majors=(14 15 16 17 18)
for major in "${majors[@]}"; do
  [[ $major =~ ^1[4-8]$ ]] || die "matrix: 14 to 18, not $major"
done
started=$SECONDS
for major in "${majors[@]}"; do
  rm -f "$OUT/$major".[a-z]*
  case $major in
    14) compiled_14 ;;
    *)
      # In a shell of its own: what one leaves out ends that one only.
      status=0
      ("on_$major") || status=$?
      case $status in
        0) ;;
        3) cell "$major" compiled "left out" ;;
        *) cell "$major" compiled FAILED ;;
      esac
      ;;
  esac
done
table "${majors[@]}"
failed=0
for major in "${majors[@]}"; do
  for column in "${COLUMNS[@]}"; do [[ $(contents "$major" "$column") != FAILED ]] || failed=$((failed + 1)); done
done
printf "\n"
say "matrix: $failed failed, in $((SECONDS - started)) s"
[[ $failed -eq 0 ]]
