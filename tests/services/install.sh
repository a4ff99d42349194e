#!/usr/bin/env bash
# install.sh: fetches or builds every server that the tests start, so that no test waits for it, and makes Kafka's class data archive.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
tmp=$(mktemp -d)
stop() {
  local pids; pids=$(cat "$tmp"/*/*.pid 2> /dev/null || true)
  for pid in $pids; do kill "$pid" 2> /dev/null || true; done
  for pid in $pids; do for ((i = 0; i < 200; i++)); do kill -0 "$pid" 2> /dev/null || break; sleep 0.05; done; done
  rm -rf "$tmp"
}
trap stop EXIT
port=$((20000 + RANDOM % 10000))
kafka_libs
ls "$(dirname "$libs")"/classes-*.jsa > /dev/null 2>&1 || KAFKA_MAKE_ARCHIVE=1 "$here/kafka.sh" "$tmp/kafka" $port
"$here/s3.sh" "$tmp/s3" $((port + 10))
"$here/toxiproxy.sh" "$tmp/toxiproxy" $((port + 20))
"$here/registry.sh" "$tmp/registry" $((port + 30))
"$here/confluent_python.sh"
