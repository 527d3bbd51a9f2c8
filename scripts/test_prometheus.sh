#!/usr/bin/env bash
# Prometheus itself scrapes what examples/monitoring tells, and answers the dashboard's questions. It is the one on the PATH, else Debian's
# package, fetched once into target/ and not installed.
# Usage: test_prometheus.sh
# shellcheck source=scripts/cluster.sh
source "$(dirname "${BASH_SOURCE[0]}")/cluster.sh"
# shellcheck source=scripts/venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/venv.sh"
pg_paths
cd "$ROOT" || exit

fetch() {
  local log=$TARGET/prometheus.log
  rm -rf "$TARGET/prometheus"
  mkdir -p "$TARGET/prometheus"
  say "prometheus: Debian's package into $TARGET/prometheus"
  (cd "$TARGET/prometheus" && apt-get download -q prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb) >"$log" 2>&1 ||
    { cat "$log" >&2; die "Debian's package prometheus could not be had; what apt said is above" \
      "Put the programs prometheus and promtool on the PATH, or let apt reach a mirror, then run this again."; }
}

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  PROMETHEUS=$(dirname "$(command -v prometheus)")
else
  PROMETHEUS=$TARGET/prometheus/usr/bin
  [[ -x $PROMETHEUS/prometheus && -x $PROMETHEUS/promtool ]] || fetch
fi
export PROMETHEUS
venv monitoring tests/monitoring/requirements.txt
cluster_start prometheus
(cd tests/monitoring && PYTHONDONTWRITEBYTECODE=1 "$VENV/bin/python" -m unittest -v scrape.Scrape)
