#!/usr/bin/env bash
# Throwaway Postgres clusters: made in target/clusters, gone without a trace when stopped.
#
#   scripts/cluster.sh start [--name N] [--durable] [--tcp] [--owner PID] [-c setting=value]...
#       Prints KEY=VALUE lines: PGHOST (folder of the socket), PGPORT, PGUSER, PGDATA, PID (of the postmaster), LOG.
#       --durable  fsync, synchronous_commit and full_page_writes on (default: off, for speed)
#       --tcp      listens on a free port of 127.0.0.1 as well (same PGPORT)
#       --owner    stops and removes the cluster when that process is gone, however it went; without it the
#                  cluster lives until `stop`
#   scripts/cluster.sh stop PGDATA             stops it and removes its folder
#   scripts/cluster.sh stop-immediate PGDATA   stops it as a crash would; the data stays, for `restart`
#   scripts/cluster.sh restart PGDATA          starts it again (stopping it first if it runs); prints the same lines
#   scripts/cluster.sh sweep [--all]           removes clusters whose maker is gone (--all: also those of `start`
#                                              without --owner)
#
# Superuser postgres, no password (trust), UTF8, C.UTF-8, time zone UTC, max_connections 200.
# The server runs as the user postgres when the caller is root, else as the caller.
# PG_CONFIG chooses the Postgres, TMPDIR where to go when target/ cannot be used.
#
# Scripts source this file and call
#   cluster_start NAME [options as above]      sets and exports PGDATA PGHOST PGPORT PGUSER, sets PGLOG; the
#                                              cluster vanishes when the script exits, also by ctrl-C or failure
#   cluster_stop PGDATA
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CLUSTERS=$TARGET/clusters
CLUSTER_MARK=billing_rpc_cluster # a file in each cluster's folder, holding its maker's process id
CLUSTER_SOCKET_LIMIT=107         # bytes in a socket's path, minus the terminating zero
cluster_started=()

# Runs a program of Postgres as the user who owns the cluster, with nothing of the caller's settings for clients.
cluster_run() {
  local run=(env -u PGDATA -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGOPTIONS -u PGSERVICE
    LC_ALL=C.UTF-8 TZ=UTC RUST_BACKTRACE=0)
  [[ $EUID -ne 0 ]] || run=(runuser -u postgres -- "${run[@]}")
  (cd / && "${run[@]}" "$@")
}

# Makes an empty folder that the server's user owns, in target/clusters if that user can reach it.
cluster_folder() { # cluster_folder NAME -> sets cluster_dir
  if [[ $EUID -ne 0 ]]; then
    mkdir -p "$CLUSTERS"
    cluster_dir=$(mktemp -d "$CLUSTERS/$1.$$.XXXX")
    return
  fi
  id -u postgres >/dev/null 2>&1 || die "there is no user postgres to run the server as" "Run 'make deps'."
  mkdir -p "$CLUSTERS"
  cluster_dir=$(mktemp -d "$CLUSTERS/$1.$$.XXXX")
  chown postgres: "$cluster_dir"
  if ! cluster_run test -w "$cluster_dir"; then
    rmdir "$cluster_dir"
    cluster_dir=$(mktemp -d "${TMPDIR:-/tmp}/$EXTENSION.$1.$$.XXXX")
    chown postgres: "$cluster_dir"
    note "cluster: the user postgres cannot reach $CLUSTERS, so this cluster is in $cluster_dir"
  fi
}

# A zombie counts as gone: not every machine has a process that collects orphans.
cluster_alive() { # cluster_alive PID
  [[ -d /proc/$1 ]] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

cluster_port_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

cluster_pid() { # cluster_pid PGDATA -> prints the postmaster's process id if it runs
  local pid
  pid=$(sed -n 1p "$1/postmaster.pid" 2>/dev/null || true)
  # A stale file may name a process that is somebody else's by now.
  if [[ -n $pid && -d /proc/$pid && $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"$1"* ]]; then
    printf '%s\n' "$pid"
  fi
}

cluster_log_tail() { # cluster_log_tail PGDATA [LINES]
  local log=${1%/data}/server.log
  if [[ -s $log ]]; then
    note "--- last lines of $log"
    tail -n "${2:-25}" "$log" >&2
    note "---"
  fi
}

# Starts the server of a folder that is set up. The port is in its settings.
cluster_up() { # cluster_up PGDATA
  cluster_run "$PG_BIN/pg_ctl" -D "$1" -l "${1%/data}/server.log" -w -t 60 -s start >&2 </dev/null
}

cluster_print() { # cluster_print PGDATA
  local settings=${1%/data}/env
  cat "$settings"
  printf 'PID=%s\n' "$(cluster_pid "$1")"
}

cluster_start() { # cluster_start NAME [--durable] [--tcp] [-c setting=value]...
  local name=$1 durable=no tcp=no extra=() port=5432 listen='' socket attempt
  shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      --durable) durable=yes ;;
      --tcp) tcp=yes ;;
      -c) extra+=("${2:?-c needs setting=value}") && shift ;;
      *) die "cluster.sh: unknown option $1" "See the top of scripts/cluster.sh." ;;
    esac
    shift
  done
  [[ $name =~ ^[A-Za-z0-9_-]{1,32}$ ]] || die "cluster.sh: a name is 1 to 32 letters, digits, - or _, not: $name"
  pg_paths
  cluster_sweep

  cluster_folder "$name"
  local data=$cluster_dir/data
  cluster_started+=("$data")
  printf '%s\n' "$$" >"$cluster_dir/$CLUSTER_MARK"
  [[ $EUID -ne 0 ]] || chown postgres: "$cluster_dir/$CLUSTER_MARK"

  socket=$cluster_dir
  if [[ $(printf '%s/.s.PGSQL.65535' "$socket" | wc -c) -gt $CLUSTER_SOCKET_LIMIT ]]; then
    socket=$(mktemp -d "/tmp/$EXTENSION.$$.XXXX")
    [[ $EUID -ne 0 ]] || chown postgres: "$socket"
  fi

  cluster_run "$PG_BIN/initdb" -D "$data" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
    --no-sync --no-instructions >"$cluster_dir/initdb.log" 2>&1 </dev/null ||
    { cat "$cluster_dir/initdb.log" >&2; die "initdb failed in $cluster_dir"; }

  [[ $tcp == no ]] || listen=127.0.0.1
  for attempt in 1 2 3 4 5; do
    if [[ $tcp == yes ]]; then
      # Below the range from which the kernel takes ports for outgoing connections.
      port=$((20000 + RANDOM % 12000))
      cluster_port_free "$port" || continue
    fi
    {
      printf '%s\n' "listen_addresses = '$listen'" "unix_socket_directories = '$socket'" "port = $port" \
        "max_connections = 200" "timezone = 'UTC'" "log_timezone = 'UTC'" "lc_messages = 'C'" \
        "log_line_prefix = '%m [%p] %u@%d '" "logging_collector = off" "log_destination = 'stderr'"
      [[ $durable == yes ]] || printf '%s\n' "fsync = off" "synchronous_commit = off" "full_page_writes = off"
      local setting
      for setting in ${extra[@]+"${extra[@]}"}; do
        printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
      done
    } >"$cluster_dir/throwaway.conf"
    [[ $EUID -ne 0 ]] || chown postgres: "$cluster_dir/throwaway.conf"
    grep -q throwaway.conf "$data/postgresql.conf" ||
      printf "include '%s'\n" "$cluster_dir/throwaway.conf" >>"$data/postgresql.conf"
    cluster_up "$data" && break
    [[ $tcp == yes && $attempt -lt 5 ]] && grep -q 'could not bind' "$cluster_dir/server.log" && continue
    cluster_log_tail "$data"
    die "the server did not start; its folder is removed"
  done

  PGDATA=$data PGHOST=$socket PGPORT=$port PGUSER=postgres PGLOG=$cluster_dir/server.log
  export PGDATA PGHOST PGPORT PGUSER
  unset PGDATABASE PGOPTIONS PGSERVICE
  printf '%s\n' "PGHOST=$PGHOST" "PGPORT=$PGPORT" "PGUSER=$PGUSER" "PGDATA=$PGDATA" "LOG=$PGLOG" >"$cluster_dir/env"
}

cluster_down() { # cluster_down PGDATA fast|immediate
  [[ -n $(cluster_pid "$1") ]] || return 0
  [[ -n ${PG_BIN:-} ]] || pg_paths
  cluster_run "$PG_BIN/pg_ctl" -D "$1" -m "$2" -w -t 30 -s stop </dev/null >&2
}

cluster_stop() { # cluster_stop PGDATA
  local dir=${1%/data} socket
  [[ -e $dir ]] || return 0
  cluster_is_ours "$1"
  cluster_down "$1" fast 2>/dev/null || cluster_down "$1" immediate || true
  socket=$(sed -n 's/^PGHOST=//p' "$dir/env" 2>/dev/null || true)
  rm -rf "$dir"
  [[ $socket != "/tmp/$EXTENSION."* ]] || rm -rf "$socket"
}

# Nothing but a folder made here is ever stopped or removed.
cluster_is_ours() {
  [[ $1 == */data && -f ${1%/data}/$CLUSTER_MARK ]] || die "not a throwaway cluster: $1"
}

# Removes what a killed script left behind: its maker is gone, and no owner watches it.
cluster_sweep() { # cluster_sweep [--all]
  local mark maker dir
  for mark in "$CLUSTERS"/*/"$CLUSTER_MARK"; do
    [[ -f $mark ]] || continue
    dir=${mark%/*}
    maker=$(<"$mark")
    if [[ $maker == cli ]]; then
      [[ ${1:-} != --all ]] || cluster_stop "$dir/data"
      continue
    fi
    cluster_alive "$maker" || cluster_stop "$dir/data"
  done
}

cluster_at_exit() {
  local status=$? data
  trap - EXIT INT TERM HUP
  set +e
  for data in ${cluster_started[@]+"${cluster_started[@]}"}; do
    [[ $status -eq 0 || $status -eq 130 ]] || cluster_log_tail "$data"
    (cluster_stop "$data")
  done
  exit "$status"
}

# Stops the cluster once its owner is gone.
cluster_watch() { # cluster_watch PGDATA OWNER
  while [[ -e $1 ]] && cluster_alive "$2"; do sleep 0.5; done
  cluster_stop "$1"
}

cluster_cli() {
  local command=${1:-} name=cluster owner='' options=()
  [[ -n $command ]] || { sed -n '2,/^source/{/^source/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 2; }
  shift
  case $command in
    start)
      while [[ $# -gt 0 ]]; do
        case $1 in
          --name) name=${2:?--name needs a name} && shift ;;
          --owner) owner=${2:?--owner needs a process id} && shift ;;
          *) options+=("$1") ;;
        esac
        shift
      done
      cluster_start "$name" ${options[@]+"${options[@]}"}
      # From here on it outlives this script.
      cluster_started=()
      printf '%s\n' "${owner:-cli}" >"${PGDATA%/data}/$CLUSTER_MARK"
      if [[ -n $owner ]]; then
        setsid "${BASH_SOURCE[0]}" watch "$PGDATA" "$owner" </dev/null >/dev/null 2>&1 &
      fi
      cluster_print "$PGDATA"
      ;;
    # The server's programs run from /: a relative path would mean another folder there.
    stop) cluster_stop "$(realpath -m -- "${1:?stop needs a PGDATA}")" ;;
    stop-immediate)
      set -- "$(realpath -m -- "${1:?stop-immediate needs a PGDATA}")"
      cluster_is_ours "$1" && cluster_down "$1" immediate
      ;;
    restart)
      set -- "$(realpath -m -- "${1:?restart needs a PGDATA}")"
      cluster_is_ours "$1"
      pg_paths
      cluster_down "$1" fast
      cluster_up "$1" || { cluster_log_tail "$1"; die "the server did not start again"; }
      cluster_print "$1"
      ;;
    watch) cluster_watch "$1" "$2" ;;
    sweep) cluster_sweep "$@" ;;
    *) die "cluster.sh: unknown command $command" "See the top of scripts/cluster.sh." ;;
  esac
}

trap cluster_at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
[[ ${BASH_SOURCE[0]} != "$0" ]] || cluster_cli "$@"
