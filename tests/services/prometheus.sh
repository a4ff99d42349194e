#!/usr/bin/env bash
# prometheus.sh DIR PORT: Prometheus on loopback with the configuration DIR/prometheus.yml, ready when this returns. Stop with: kill $(cat DIR/*.pid)
# With DIR/web.yml, its web configuration, it answers over TLS.
set -euo pipefail
dir=$(cd "$1" && pwd) port=$2
. "$(dirname "$0")/cache.sh"
need curl "asking whether the server is ready" "apt-get install curl"
! tcp_open "$port" || { echo "prometheus.sh: port $port is taken" >&2; exit 1; }
web=() scheme=http
if [ -s "$dir/web.yml" ]; then web=(--web.config.file="$dir/web.yml") scheme=https; fi
setsid "$here/checkers.sh" prometheus "${web[@]}" --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$port" > "$dir/log" 2>&1 < /dev/null &
echo $! > "$dir/prometheus.pid"
for ((i = 0; i < 400; i++)); do
  curl -s -f -k -m 2 -o /dev/null "$scheme://127.0.0.1:$port/-/ready" && exit 0
  sleep 0.05
done
echo "prometheus.sh: Prometheus is not ready after 20 s:" >&2; cat "$dir/log" >&2; exit 1
