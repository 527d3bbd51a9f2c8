#!/usr/bin/env bash
# Where the time of one kind of call goes. Two looks at it, each in a throwaway cluster of its own:
# - perf's software clock samples the server process of one client: by library, by symbol, and the extension's own functions.
#   It needs no counters of the processor, so it works in a virtual machine; what waits is not seen.
# - callgrind counts the instructions of a server without clients (postgres --single), that makes the same calls: per call, by
#   function, and with what each calls. It knows no instructions for SHA-256, so digests count for more than they take.
# Everything is kept in target/profile.
# Usage: profile.sh [KIND] [SECONDS]    KIND: purchase (default), spend, replay, webhook; SECONDS of sampling (default 10)
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
pg_paths

kind=${1:-purchase} seconds=${2:-10}
[[ $kind =~ ^(purchase|spend|replay|webhook)$ && $seconds =~ ^[0-9]+$ ]] ||
  die "profile: $kind $seconds is not understood" "Usage: profile.sh [purchase|spend|replay|webhook] [SECONDS]"
command -v perf >/dev/null || die "there is no perf" "Install it: apt-get install linux-perf"
command -v callgrind_annotate >/dev/null || die "there is no valgrind" "Install it: apt-get install valgrind"

FEW=50 MANY=250 # calls that callgrind counts; the difference leaves out the start of the server and the making of plans
LINES=40
export CARGO_TARGET_DIR=$TARGET/bench
cargo build --quiet --release --locked --manifest-path "$ROOT/tests/bench/Cargo.toml"
bench=$CARGO_TARGET_DIR/release/billing_bench
out=$TARGET/profile
mkdir -p "$out"

database() { # database NAME: a cluster with an empty database that has the extension
  cluster_start "$1" --tcp
  export PGDATABASE=bench
  "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -d postgres -c "create database bench template template0"
  "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -c "create extension $EXTENSION"
}

report() { # report TITLE perf's arguments: what perf found, without its comments
  say "" "$1"
  shift
  perf report -i "$data" --stdio --no-children -g none "$@" 2>/dev/null | grep -v -e '^#' -e '^ *$' | sed -n "1,${LINES}p"
}

samples() {
  local process='' driver data=$out/$kind.perf
  "$bench" --load "$kind" "$((seconds + 2))" >"$out/$kind.load" &
  driver=$!
  while [[ -z $process ]] && cluster_alive "$driver"; do
    process=$(sed -n 's/^process //p' "$out/$kind.load")
    sleep 0.2
  done
  [[ -n $process ]] || die "profile: the calls did not start"
  perf record -q -e cpu-clock -F 997 -g -p "$process" -o "$data" -- sleep "$seconds" >"$out/$kind.log" 2>&1 ||
    { cat "$out/$kind.log" >&2; die "profile: perf could not look at the server process $process"; }
  wait "$driver"
  say "profile of $kind: $(tail -n 1 "$out/$kind.load"), synchronous_commit off; shares of the server's time on a processor"
  report "by library" -F overhead,dso
  report "by symbol" -F overhead,dso,symbol
  report "functions of the extension" --dsos "$EXTENSION.so" -F overhead,symbol
}

count() { # count CALLS: counts instructions while so many calls are made, with all around them
  local log=$cluster_dir/log result=$cluster_dir/$1.callgrind
  cluster_run "$valgrind" --tool=callgrind --callgrind-out-file="$result" \
    "$PG_BIN/postgres" --single -j -D "$PGDATA" bench <"$cluster_dir/script.$1" >/dev/null 2>"$log" ||
    { cat "$log" >&2; die "profile: the server without clients ended badly"; }
  ! grep -E 'ERROR|FATAL|PANIC' "$log" >&2 || die "profile: the server refused a call"
  cp "$result" "$out/$kind.$1.callgrind"
}

annotated() { # annotated CALLS [callgrind_annotate's arguments]: instructions, a tab, function and library
  callgrind_annotate --threshold=100 "${@:2}" "$out/$kind.$1.callgrind" |
    sed -nE 's|^ *([0-9,]+) \([^)]*\)  (.*)$|\1\t\2|p' |
    awk -F '\t' -v OFS='\t' '{ gsub(",", "", $1); sub(/^[^ ]*\.[chS]:|^\?\?\?:/, "", $2); sub(/\[.*\//, "[", $2); print }'
}

# What the one run takes beyond the other, by call: the start of the server and the making of plans are in both.
per_call() { # per_call [callgrind_annotate's arguments]
  awk -F '\t' -v calls=$((MANY - FEW)) '
    NR == FNR { few[$2] += $1; next }
    { many[$2] += $1 }
    END { for (name in many) printf "%9.0f  %s\n", (many[name] - few[name]) / calls, name }
  ' <(annotated "$FEW" "$@") <(annotated "$MANY" "$@") | sort -rn
}

instructions() {
  local valgrind
  valgrind=$(command -v valgrind)
  # Written before the server stops, because it names customers; each run makes calls of its own.
  "$bench" --script "$kind" "$((FEW + MANY))" >"$out/$kind.sql"
  cluster_down "$PGDATA" fast
  awk -v RS=';\n\n' -v ORS=';\n\n' -v few="$FEW" 'NR <= 2 + few' "$out/$kind.sql" >"$cluster_dir/script.$FEW"
  awk -v RS=';\n\n' -v ORS=';\n\n' -v few="$FEW" 'NR <= 2 || NR > 2 + few' "$out/$kind.sql" >"$cluster_dir/script.$MANY"
  count "$FEW"
  count "$MANY"
  say "" "instructions of one $kind, by callgrind: by function"
  per_call | sed -n "1,${LINES}p"
  per_call --inclusive=yes >"$out/$kind.inclusive"
  say "" "functions of the extension, with what they call"
  grep "\[$EXTENSION" "$out/$kind.inclusive" | sed -n "1,${LINES}p"
  say "" "functions of the server, with what they call"
  grep '\[postgres\]' "$out/$kind.inclusive" | grep -v '  0x' | sed -n "1,${LINES}p"
}

database profile
samples
cluster_stop "$PGDATA"
database profile
instructions
say "" "profile: kept in $out; perf report -i $out/$kind.perf and callgrind_annotate $out/$kind.$MANY.callgrind tell more"
