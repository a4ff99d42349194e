#!/usr/bin/env bash
# s3.sh DIR PORT: versitygw over a plain folder: an S3 server on loopback, ready when this returns. Key test, secret testtest; TLS on PORT+1.
# Objects are the files of DIR/objects/BUCKET. Stop with: kill $(cat DIR/*.pid); called again it serves the same objects.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) port=$2
. "$(dirname "$0")/cache.sh"
need curl "asking whether the server is ready" "apt-get install curl"
need openssl "certificates" "apt-get install openssl"
go_tool versitygw github.com/versity/versitygw/cmd/versitygw v1.8.0
"$here/certs.sh" "$dir/tls"
mkdir -p "$dir/objects" "$dir/versions"
export ROOT_ACCESS_KEY=test ROOT_SECRET_KEY=testtest
run() {   # name, listen port, further global options
  local name=$1 listen=$2; shift 2
  ! tcp_open "$listen" || { echo "s3.sh: port $listen is taken" >&2; exit 1; }
  setsid "$tool" --quiet --region us-east-1 --health /health --port "127.0.0.1:$listen" "$@" posix --versioning-dir "$dir/versions" "$dir/objects" > "$dir/$name.log" 2>&1 < /dev/null &
  echo $! > "$dir/$name.pid"
}
run http "$port"
run https $((port + 1)) --cert "$dir/tls/server.crt" --key "$dir/tls/server.key"
for ((i = 0; i < 400; i++)); do
  curl -s -f -m 2 -o /dev/null "http://127.0.0.1:$port/health" && curl -s -f -m 2 --cacert "$dir/tls/ca.crt" -o /dev/null "https://localhost:$((port + 1))/health" && exit 0
  sleep 0.05
done
echo "s3.sh: versitygw is not ready after 20 s:" >&2; cat "$dir"/*.log >&2; exit 1
