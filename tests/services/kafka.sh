#!/usr/bin/env bash
# kafka.sh DIR PORT [BROKERS]: Apache Kafka (KRaft) on loopback, ready when this returns. Stop with: kill $(cat DIR/*.pid)
# Broker n (from 0) listens on PORT+10n: plain text (admin), +1 TLS with client certificate, +2 TLS with SCRAM-SHA-512, +3 controller,
# +4 TLS with PLAIN or SCRAM-SHA-256, +6 the same two without TLS,
# +5 plain text again, advertised at the n-th port of KAFKA_PROXIED ("19001 19002") if given: where a fault proxy listens.
# Called again with the same arguments it starts, on their old data, the brokers that do not run; with KAFKA_ONLY=n only that one.
# KAFKA_CERTIFICATE names the pair in DIR/tls that the brokers present, KAFKA_SETTINGS adds lines to their properties.
# KAFKA_KERBEROS names a krb5.conf, for a listener that KAFKA_SETTINGS adds.
# KAFKA_COMPILER=4 is for measuring: starts are slower, and TLS uses the processor's AES, which the default of 1 does in plain Java.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) port=$2 brokers=${3:-1}
. "$(dirname "$0")/cache.sh"
kafka_libs
need openssl "certificates" "apt-get install openssl"
"$here/certs.sh" "$dir/tls" ${KAFKA_CERTIFICATE:+troubles}
opts=(-Xmx${KAFKA_HEAP:-256m} -XX:+UseSerialGC -XX:TieredStopAtLevel=${KAFKA_COMPILER:-1} -Xlog:disable -Xlog:all=error:stderr -Dorg.slf4j.simpleLogger.defaultLogLevel=error
  -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://"$dir"/tls/jwks.json)   # for a listener that KAFKA_SETTINGS may add
[ -z "${KAFKA_KERBEROS:-}" ] || opts+=(-Djava.security.krb5.conf="$KAFKA_KERBEROS")
cp=$(printf '%s:' "$libs"/*.jar)
# A class data archive halves the start. It holds for one JVM and one class path, so both are in its name; a broker's
# first clean stop makes it (`install` does that).
archive=$(dirname "$libs")/classes-$("$java" -version 2>&1 | cat - <(echo "$cp") | cksum | cut -d' ' -f1).jsa
share=()
if [ -s "$archive" ]; then share=(-XX:SharedArchiveFile="$archive"); elif [ -n "${KAFKA_MAKE_ARCHIVE:-}" ]; then share=(-XX:ArchiveClassesAtExit="$archive"); fi

voters=""
for ((n = 0; n < brokers; n++)); do voters+="${voters:+,}$n@127.0.0.1:$((port + 10 * n + 3))"; done
read -ra proxied <<< "${KAFKA_PROXIED:-}"
replicas=$((brokers < 3 ? 1 : 3)) isr=$((brokers < 3 ? 1 : 2))

configure() {   # broker
  local n=$1 b=$dir/broker-$1 p=$((port + 10 * $1))
  cat > "$b/server.properties" <<P
process.roles=broker,controller
node.id=$n
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,LOGIN:SASL_SSL,BARE_LOGIN:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:$p,SSL://127.0.0.1:$((p + 1)),SASL_SSL://127.0.0.1:$((p + 2)),CONTROLLER://127.0.0.1:$((p + 3)),PROXIED://127.0.0.1:$((p + 5)),LOGIN://127.0.0.1:$((p + 4)),BARE_LOGIN://127.0.0.1:$((p + 6))
advertised.listeners=PLAINTEXT://127.0.0.1:$p,SSL://localhost:$((p + 1)),SASL_SSL://localhost:$((p + 2)),PROXIED://127.0.0.1:${proxied[n]:-$((p + 5))},LOGIN://localhost:$((p + 4)),BARE_LOGIN://localhost:$((p + 6))
log.dirs=$b/data
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/${KAFKA_CERTIFICATE:-server}.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.crt
listener.name.ssl.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+).*\$/\$1/,DEFAULT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
$(for listener in login bare_login; do
  echo "listener.name.$listener.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256"
  echo "listener.name.$listener.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_admin=\"admin-secret\" user_app=\"app-secret\";"
  echo "listener.name.$listener.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
done)
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:admin
allow.everyone.if.no.acl.found=false
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=$replicas
min.insync.replicas=$isr
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$isr
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$isr
share.coordinator.state.topic.num.partitions=4
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=3000
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=8388608
${KAFKA_SETTINGS:-}
P
}

format() {   # broker
  local b=$dir/broker-$1
  "$java" "${opts[@]}" -cp "$cp" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$b/server.properties" \
    --add-scram 'SCRAM-SHA-512=[name=admin,password=admin-secret]' --add-scram 'SCRAM-SHA-512=[name=app,password=app-secret]' \
    --add-scram 'SCRAM-SHA-256=[name=app,password=app-secret]' > "$b/format.log" 2>&1 \
    || { cat "$b/format.log" >&2; exit 1; }
}

# A broker killed a moment ago may still be listed, as a zombie.
runs() { [[ $(ps -o stat= -p "$(cat "$dir/broker-$1.pid" 2> /dev/null)" 2> /dev/null) == [^Z]* ]]; }   # broker

ready() {   # broker
  local b=$dir/broker-$1
  for ((i = 0; i < 600; i++)); do
    runs "$1" || { echo "kafka.sh: broker $1 ended:" >&2; tail -n 30 "$b/log" >&2; exit 1; }
    tcp_open $((port + 10 * $1)) && return
    sleep 0.1
  done
  echo "kafka.sh: broker $1 is not ready after 60 s:" >&2; tail -n 30 "$b/log" >&2; exit 1
}

for ((n = 0; n < brokers; n++)); do
  if runs "$n" || [ "${KAFKA_ONLY:-$n}" != "$n" ]; then continue; fi
  b=$dir/broker-$n; mkdir -p "$b"
  for p in 0 1 2 3 4 5 6; do ! tcp_open $((port + 10 * n + p)) || { echo "kafka.sh: port $((port + 10 * n + p)) is taken" >&2; exit 1; }; done
  configure $n
  [ -d "$b/data" ] || format $n
  setsid "$java" "${opts[@]}" "${share[@]}" -cp "$cp" kafka.Kafka "$b/server.properties" >> "$b/log" 2>&1 < /dev/null &
  echo $! > "$dir/broker-$n.pid"
done
for ((n = 0; n < brokers; n++)); do [ "${KAFKA_ONLY:-$n}" != "$n" ] || ready "$n"; done
