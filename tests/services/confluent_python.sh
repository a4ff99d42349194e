#!/usr/bin/env bash
# confluent_python.sh [ARGUMENT...]: Python with Confluent's own client and serializers. Without arguments it installs them.
set -euo pipefail
. "$(dirname "$0")/cache.sh"
python=$cache/confluent-python-2.16.1

install() {
  [ -e "$python/done" ] && return
  need python3 "Confluent's Python client" "apt-get install python3 python3-venv"
  rm -rf "$python"
  python3 -m venv "$python" || { echo "confluent_python.sh: python3 makes no virtual environment: apt-get install python3-venv" >&2; exit 1; }
  "$python/bin/pip" install --quiet --disable-pip-version-check "confluent-kafka[avro,schemaregistry]==2.16.1"
  touch "$python/done"
}

[ -e "$python/done" ] || alone confluent-python install
[ $# -eq 0 ] || exec "$python/bin/python" "$@"
