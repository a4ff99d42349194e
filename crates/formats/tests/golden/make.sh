#!/usr/bin/env bash
# make.sh [verify FILE]: writes avro.jsonl and connect_json.jsonl beside it, as other implementations write them: fastavro,
# confluent-kafka's serializer, Java's Avro library, Kafka's JsonConverter. What a line holds is said at the head of make.py and
# GoldenConnect.java. With `verify`, fastavro and Java read lines that we wrote; those come from
#   AQUEDUCT_GOLDEN=FILE cargo test -p aqueduct-avro --test golden
# Needs a JDK of 17 or newer, Maven and Python; not run by tests/run, which reads the files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${AQUEDUCT_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/aqueduct}/golden
mkdir -p "$cache"
python=$cache/python/bin/python
[ -x "$python" ] || { python3 -m venv "$cache/python" && "$cache/python/bin/pip" -q install fastavro==1.13.1 'confluent-kafka[avro]==2.16.1'; }
[ -d "$cache/jars" ] || mvn -q -B -Dstyle.color=never -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$cache/jars" < /dev/null
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT
javac -Xlint:none -cp "$cache/jars/*" -d "$classes" "$here"/*.java
run() { java -cp "$classes:$cache/jars/*" "$@"; }
if [ "${1:-}" = verify ]; then
  "$python" "$here/make.py" verify "$2"
  run GoldenAvro "$2"
else
  "$python" "$here/make.py" > "$here/avro.jsonl"
  "$python" "$here/make.py" verify "$here/avro.jsonl"
  run GoldenAvro "$here/avro.jsonl"
  run GoldenConnect > "$here/connect_json.jsonl"
fi
