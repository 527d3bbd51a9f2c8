#!/usr/bin/env bash
# Do the tests of the SQL side see a mistake? Plants one fault at a time into a copy of the project, and runs the one
# test that is to see it. Usage: faults.sh [NAME...]
# tests/faults/faults.toml holds the faults: what is changed, which test sees it, and what that test then says. A
# fault is seen if its test passes without it, fails with it, and says so. A fault that does not apply any more is an
# error. The copy is target/faults/tree, built quickly rather than well, with a Postgres of its own; the first build there
# takes a few minutes. FAULTS_BUILD=0 takes the package in target/package as it is.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
pg_paths
cd "$ROOT" || exit

WORK=$TARGET/faults
TREE=$WORK/tree
LOGS=$WORK/logs
PACKAGE=$TREE/target/package
PLANT=(python3 "$ROOT/tests/faults/plant.py")
SECONDS_A_TEST=${SECONDS_A_TEST:-300}

# The whole table is checked first, also where only some of it runs.
"${PLANT[@]}" list >/dev/null
chosen=$("${PLANT[@]}" list "$@")

mkdir -p "$WORK"
exec 8>"$WORK/lock"
flock -n 8 || die "another run of faults.sh is under way in this checkout"
rm -rf "$LOGS"
mkdir -p "$LOGS"
CHECKOUT_PG_CONFIG=$PG_CONFIG
PG_CONFIG=$(scripts/private_postgres.sh "$WORK/postgres")
export PG_CONFIG
pg_paths

# What is built a dozen times need not be fast.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1
export CARGO_PROFILE_RELEASE_INCREMENTAL=true
QUICK=("${!CARGO_PROFILE_RELEASE_@}")
export CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_CASES=${PROPTEST_CASES:-64} ORDERS_LENGTH=${ORDERS_LENGTH:-3}

build() { # build LOG
  (cd "$TREE" && scripts/build.sh) >"$1" 2>&1 8>&-
}

# Puts a built package into the Postgres of these tests.
put() { # put PACKAGE
  local file folder
  while IFS= read -r file; do
    folder=$PG_SHARE/extension
    [[ $file != *.so ]] || folder=$PG_LIB
    install -m 644 "$file" "$folder/${file##*/}.new"
    mv -f "$folder/${file##*/}.new" "$folder/${file##*/}"
  done < <(find "$1" -type f)
}

# The script of the version that CREATE EXTENSION takes.
install_script() {
  local version
  version=$(find "$WORK/base" -name "$EXTENSION.control" -exec sed -n "s/^default_version *= *'\(.*\)'/\1/p" {} +)
  find "$WORK/base" -name "$EXTENSION--$version.sql"
}

changed_scripts() { # changed_scripts NAME: into WORK/scripts
  rm -rf "$WORK/scripts"
  mkdir "$WORK/scripts"
  "${PLANT[@]}" scripts "$1" "$(install_script)" "$WORK/scripts"
}

run_test() { # run_test LAYER NAME LOG
  local command folder=$TREE
  case $1 in
    regress | isolation) command=(scripts/test_regress.sh "$1" "$2") ;;
    pgtap) command=(scripts/test_pgtap.sh "tests/pgtap/$2.sql") ;;
    core) command=(scripts/test_cargo.sh test-core --package billing_core --lib "$2") ;;
    upgrade) command=(scripts/test_upgrade.sh "$2") ;;
    # No fault is in the clients' code: the checkout's own build will do, optimized as ever.
    wire)
      folder=$ROOT
      command=(env "${QUICK[@]/#/--unset=}" scripts/test_cargo.sh test-wire --release --manifest-path tests/wire/Cargo.toml "$2")
      ;;
  esac
  (cd "$folder" && timeout "$SECONDS_A_TEST" "${command[@]}") >"$3" 2>&1 8>&-
}

# Where nothing but SQL changes, the checkout's own build will do.
"${PLANT[@]}" sync "$TREE"
[[ ${FAULTS_BUILD:-1} == 0 ]] || PG_CONFIG=$CHECKOUT_PG_CONFIG scripts/build.sh 8>&-
rm -rf "$WORK/base"
cp -a "$TARGET/package" "$WORK/base"
put "$WORK/base"
while IFS=$'\t' read -r fault kind test; do
  [[ $kind != sql ]] || changed_scripts "$fault" </dev/null
done <<<"$chosen"

# Without a fault every test passes, else its failure would show nothing.
while IFS= read -r test; do
  read -r layer name <<<"$test"
  log=$LOGS/without.$layer.$name.log
  run_test "$layer" "$name" "$log" </dev/null || { cat "$log"; die "$test fails without any fault"; }
done < <(cut -f 3 <<<"$chosen" | sort -u)
say "faults: $(cut -f 3 <<<"$chosen" | sort -u | wc -l) tests pass without a fault"

# Plants a fault where its test will meet it.
plant() { # plant NAME KIND
  case $2 in
    sql)
      put "$WORK/base"
      changed_scripts "$1" || return
      put "$WORK/scripts"
      ;;
    rust)
      "${PLANT[@]}" plant "$1" "$TREE" || return
      build "$LOGS/$1.build.log" || { cat "$LOGS/$1.build.log"; note "error: $1 does not build"; return 1; }
      put "$PACKAGE"
      ;;
    core) "${PLANT[@]}" plant "$1" "$TREE" ;;
  esac
}

seen=0 unseen=()
while IFS=$'\t' read -r fault kind test; do
  read -r layer name <<<"$test"
  log=$LOGS/$fault.log started=$SECONDS verdict=seen
  plant "$fault" "$kind" </dev/null || exit
  if run_test "$layer" "$name" "$log" </dev/null; then
    verdict='NOT SEEN: the test passes'
  elif ! "${PLANT[@]}" shows "$fault" "$log"; then
    verdict='NOT SEEN: the test fails, but not for what it is to show'
  fi
  "${PLANT[@]}" sync "$TREE"
  printf '%-42s %-46s %4d s  %s\n' "$fault" "$test" "$((SECONDS - started))" "$verdict"
  if [[ $verdict == seen ]]; then seen=$((seen + 1)); else unseen+=("$fault"); fi
done <<<"$chosen"

say "faults: $seen of $((seen + ${#unseen[@]})) seen"
if [[ ${#unseen[@]} -gt 0 ]]; then
  note "faults: not seen: ${unseen[*]}; what each test said is in target/faults/logs"
  exit 1
fi
