#!/usr/bin/env bash
# Golden tests: what SQL answers, compared with what was accepted before. Each file in a fresh database of one
# throwaway cluster. Usage: test_regress.sh regress|isolation|pairs [--accept] [NAME...]
#   regress     tests/pg_regress/sql/NAME.sql     against tests/pg_regress/expected/NAME.out; the file creates the extension itself
#   isolation   tests/isolation/specs/NAME.spec   against tests/isolation/expected/NAME.out; the extension is there, in schema public
#   pairs       all of scripts/test_pairs.sh, so that 'make accept' knows it
#   --accept    shows the differences, then makes the new results the expected ones
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths

kind=$1
shift
accept=no
[[ ${1:-} != --accept ]] || { accept=yes && shift; }

case $kind in
  regress)
    layer=test-regress folder=$ROOT/tests/pg_regress inputs=sql suffix=.sql
    runner=("$PG_TOOLS/regress/pg_regress")
    JOBS=1 # they make and drop roles, which all databases share
    ;;
  isolation)
    layer=test-isolation folder=$ROOT/tests/isolation inputs=specs suffix=.spec
    runner=("$PG_TOOLS/isolation/pg_isolation_regress" --use-existing)
    # A step that never ends is canceled after so many seconds; isolationtester's own limit is six minutes a step.
    export PGISOLATIONTIMEOUT=${PGISOLATIONTIMEOUT:-20}
    # A spec mostly waits, so there are more at once than cores.
    JOBS=${JOBS:-4}
    ;;
  pairs)
    [[ $accept == no ]] || set -- --accept "$@"
    exec "$ROOT/scripts/test_pairs.sh" all "$@"
    ;;
  *) die "usage: test_regress.sh regress|isolation|pairs [--accept] [NAME...]" ;;
esac
[[ -x ${runner[0]} ]] || die "${runner[0]} is missing" "Run 'make deps': postgresql-client-$PG_MAJOR and postgresql-server-dev-$PG_MAJOR hold it."

names=("$@")
if [[ ${#names[@]} -eq 0 ]]; then
  need_tests "$layer" "${folder#"$ROOT/"}/$inputs" "$folder/$inputs"/*"$suffix"
  for file in "$folder/$inputs"/*"$suffix"; do
    name=${file##*/}
    names+=("${name%"$suffix"}")
  done
  for file in "$folder"/expected/*.out; do
    name=${file##*/}
    name=${name%.out}
    # NAME_1.out to NAME_9.out are alternatives of NAME.out.
    [[ ! -e $file || -e $folder/$inputs/$name$suffix || -e $folder/$inputs/${name%_[0-9]}$suffix ]] ||
      die "${file#"$ROOT/"} belongs to no test" "Remove it, or bring back $inputs/$name$suffix."
  done
fi

out=$TARGET/$kind
rm -rf "$out"
mkdir -p "$out"
# Prints the fingerprint of a database's catalogue, what a spec left there taken away.
fresh() { # fresh DATABASE
  "$PG_BIN/psql" -X -q -A -t -v ON_ERROR_STOP=1 -d "$1" -f "$folder/fresh.sql"
}

cluster_start "$kind" # one cluster for all files; roles are shared, databases are not
for name in "${names[@]}"; do
  [[ -f $folder/$inputs/$name$suffix ]] || die "no such test: ${folder#"$ROOT/"}/$inputs/$name$suffix"
done
if [[ $kind == isolation ]]; then
  "$PG_BIN/psql" -X -q -d postgres -c "CREATE DATABASE prepared"
  # Specs begin by emptying the tables. With the ledger's trigger as most triggers are (off for replicas, on for all
  # others) they can, and need not switch it off, which would make every session plan everything anew.
  "$PG_BIN/psql" -X -q -d prepared -c "SET client_min_messages = warning" -c "CREATE EXTENSION $EXTENSION" \
    -c "ALTER TABLE billing.ledger ENABLE TRIGGER ledger_append_only"
  prepared=$(fresh prepared)
fi

# A golden test gets a database of its own; specs use few in turn, for copying one takes as long as running a spec.
database_for() { # database_for NAME WORKER
  if [[ $kind == isolation ]]; then
    database=isolation_$2
    [[ $(fresh "$database" 2>&1) != "$prepared" ]] || return 0
    say "$database is copied anew"
    "$PG_BIN/psql" -X -q -d postgres -c "SET client_min_messages = error" \
      -c "DROP DATABASE IF EXISTS $database (FORCE)" -c "CREATE DATABASE $database TEMPLATE prepared"
  else
    database=${kind}_${1//[^A-Za-z0-9_]/_}
    database=${database:0:63}
  fi
}

# Runs one file and says how it went; target/KIND/NAME/passed is there if it went well.
run_one() { # run_one NAME WORKER
  local name=$1 input=$folder missing=no status=0 started millis what database
  if [[ ! -f $folder/expected/$name.out ]]; then
    # The runner would pass silently over a missing one; an empty one makes it say what came instead.
    missing=yes input=$out/$name/input
    mkdir -p "$input/$inputs" "$input/expected"
    ln -s "$folder/$inputs/$name$suffix" "$input/$inputs/"
    : >"$input/expected/$name.out"
  fi
  started=${EPOCHREALTIME/[^0-9]/}
  {
    database_for "$name" "$2"
    cd "$out/$name" && "${runner[@]}" --bindir="$PG_BIN" --inputdir="$input" --outputdir="$out/$name" \
      --host="$PGHOST" --port="$PGPORT" --user=postgres --encoding=UTF8 --dbname="$database" "$name"
  } >"$out/$name/runner.log" 2>&1 </dev/null || status=$?
  millis=$(((${EPOCHREALTIME/[^0-9]/} - started) / 1000))
  if [[ $status -eq 0 && $missing == no ]]; then
    : >"$out/$name/passed"
    printf 'ok     %-44s %6d ms\n' "$name" "$millis"
    return
  fi
  [[ $missing == no ]] && what="differs from what is expected" || what="has no expected/$name.out"
  {
    printf 'FAILED %-44s %6d ms  %s\n' "$name" "$millis" "$what"
    if [[ -s $out/$name/regression.diffs ]]; then cat "$out/$name/regression.diffs"; else cat "$out/$name/runner.log"; fi
  } >"$out/$name/said"
  cat "$out/$name/said"
}

# Takes whatever no other worker has taken; whoever makes its folder has it.
work() { # work WORKER
  local name
  for name in "${names[@]}"; do
    ! mkdir "$out/$name" 2>/dev/null || run_one "$name" "$1"
  done
}
for ((worker = 1; worker <= JOBS; worker++)); do
  (trap - EXIT && work "$worker") &
done
wait
passed=0
failed=()
for name in "${names[@]}"; do
  if [[ -e $out/$name/passed ]]; then passed=$((passed + 1)); else failed+=("$name"); fi
done

if [[ $accept == yes ]]; then
  accepted=0
  for name in ${failed[@]+"${failed[@]}"}; do
    result=$out/$name/results/$name.out
    [[ -s $result ]] || { note "$kind: $name gave no result, nothing to accept"; continue; }
    mkdir -p "$folder/expected"
    cp "$result" "$folder/expected/$name.out"
    accepted=$((accepted + 1))
  done
  say "$kind: accepted $accepted new results; read them with 'git diff ${folder#"$ROOT/"}' before you commit"
  exit 0
fi

record "$layer" "$passed" "${#failed[@]}"
say "$layer: $passed passed, ${#failed[@]} failed"
if [[ ${#failed[@]} -gt 0 ]]; then
  say "If the new results are right, accept them: make accept KIND=$kind TESTS='${failed[*]}'"
  exit 1
fi
