#!/usr/bin/env bash
# toxiproxy.sh DIR PORT: a proxy that can be told to delay, cut and refuse connections, its HTTP API on PORT, ready when this returns.
# Stop with: kill $(cat DIR/toxiproxy.pid)
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) port=$2
. "$(dirname "$0")/cache.sh"
need curl "asking whether the server is ready" "apt-get install curl"
go_tool toxiproxy github.com/Shopify/toxiproxy/v2/cmd/server v2.5.0
! tcp_open "$port" || { echo "toxiproxy.sh: port $port is taken" >&2; exit 1; }
setsid "$tool" -host 127.0.0.1 -port "$port" > "$dir/log" 2>&1 < /dev/null &
echo $! > "$dir/toxiproxy.pid"
for ((i = 0; i < 200; i++)); do
  curl -s -f -m 2 -o /dev/null "http://127.0.0.1:$port/version" && exit 0
  sleep 0.05
done
echo "toxiproxy.sh: not ready after 10 s:" >&2; cat "$dir/log" >&2; exit 1
