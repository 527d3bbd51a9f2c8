#!/bin/sh
# Cargo's RUSTC_WRAPPER for builds that leave this machine: a panic names its source file, and that name says nothing of where
# this machine keeps its sources. BILLING_PATHS holds what stands for what, FROM=TO by lines; the last that fits counts.
rustc=$1
shift
IFS='
'
for pair in $BILLING_PATHS; do set -- "$@" "--remap-path-prefix=$pair"; done
# Without the headers of Postgres there are the bindings that pgrx ships for its own documentation: enough to compile against.
if [ "${BILLING_BINDINGS:-}" = shipped ]; then
  for argument; do
    [ "$argument" != pgrx_pg_sys ] || { set -- "$@" --cfg docsrs; break; }
  done
fi
exec "$rustc" "$@"
