#!/usr/bin/env bash
# registry.sh DIR PORT [USER:PASSWORD]: Apicurio Registry, a schema registry in memory, on loopback, ready when this returns.
# Confluent's API at http://127.0.0.1:PORT/apis/ccompat/v7, the same over TLS at https://localhost:PORT+2, health on PORT+1. With a
# login nothing under /apis answers without it. Stop with: kill $(cat DIR/registry.pid); started again it is empty.
# REGISTRY_CERTIFICATE names the pair in DIR/tls that it presents.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) port=$2 login=${3:-}
. "$(dirname "$0")/cache.sh"
need curl "asking whether the server is ready" "apt-get install curl"
need openssl "certificates" "apt-get install openssl"
registry_app
"$here/certs.sh" "$dir/tls" ${REGISTRY_CERTIFICATE:+troubles}
pair=$dir/tls/${REGISTRY_CERTIFICATE:-server}
for p in 0 1 2; do ! tcp_open $((port + p)) || { echo "registry.sh: port $((port + p)) is taken" >&2; exit 1; }; done
opts=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
  -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port="$port" -Dquarkus.http.access-log.enabled=false
  -Dquarkus.management.host=127.0.0.1 -Dquarkus.management.port=$((port + 1))
  -Dquarkus.http.ssl-port=$((port + 2)) -Dquarkus.http.ssl.certificate.files="$pair.crt" -Dquarkus.http.ssl.certificate.key-files="$pair.key"
  -Dapicurio.rules.global.compatibility=BACKWARD)   # as Confluent's is from the start; Apicurio's own default checks nothing
if [ -n "$login" ]; then
  opts+=(-Dquarkus.http.auth.basic=true -Dquarkus.security.users.embedded.plain-text=true
    -Dquarkus.security.users.embedded.users."${login%%:*}"="${login#*:}" -Dquarkus.security.users.embedded.roles."${login%%:*}"=sr-admin
    "-Dquarkus.http.auth.permission.all.paths=/apis/*" -Dquarkus.http.auth.permission.all.policy=authenticated)
fi
setsid "$registry_java" "${opts[@]}" -jar "$registry_app/quarkus-run.jar" > "$dir/log" 2>&1 < /dev/null &
echo $! > "$dir/registry.pid"
for ((i = 0; i < 600; i++)); do
  # Health answers before the listeners are open, so the last of them, TLS, is asked too; a 401 without a login is fine.
  curl -s -f -m 2 -o /dev/null "http://127.0.0.1:$((port + 1))/health/ready" \
    && curl -s -k -m 2 -o /dev/null "https://localhost:$((port + 2))/apis/ccompat/v7/schemas/types" && exit 0
  kill -0 "$(cat "$dir/registry.pid")" 2> /dev/null || { echo "registry.sh: Apicurio ended:" >&2; tail -n 30 "$dir/log" >&2; exit 1; }
  sleep 0.1
done
echo "registry.sh: Apicurio is not ready after 60 s:" >&2; tail -n 30 "$dir/log" >&2; exit 1
