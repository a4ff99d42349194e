#!/usr/bin/env bash
# kerberos.sh DIR PORT: MIT Kerberos on loopback for the realm EXAMPLE.TEST, ready when this returns. Stop with: kill $(cat DIR/*.pid)
# Clients and servers need KRB5_CONFIG=DIR/krb5.conf. Keys: DIR/kafka.keytab of kafka/localhost, DIR/app.keytab of app.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd) port=$2
PATH=$PATH:/usr/sbin:/sbin
. "$(dirname "$0")/cache.sh"
need krb5kdc "Kerberos" "apt-get install krb5-kdc"
need kadmin.local "Kerberos" "apt-get install krb5-admin-server"
cat > "$dir/krb5.conf" <<K
[libdefaults]
  default_realm = EXAMPLE.TEST
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
[realms]
  EXAMPLE.TEST = {
    kdc = 127.0.0.1:$port
  }
K
cat > "$dir/kdc.conf" <<K
[kdcdefaults]
  kdc_listen = 127.0.0.1:$port
  kdc_tcp_listen = 127.0.0.1:$port
[realms]
  EXAMPLE.TEST = {
    database_name = $dir/principal
    key_stash_file = $dir/stash
    acl_file = $dir/kadm5.acl
  }
K
export KRB5_CONFIG=$dir/krb5.conf KRB5_KDC_PROFILE=$dir/kdc.conf
kdb5_util create -s -r EXAMPLE.TEST -P master > "$dir/create.log" 2>&1 || { cat "$dir/create.log" >&2; exit 1; }
for name in kafka/localhost app; do
  kadmin.local -r EXAMPLE.TEST -q "addprinc -randkey $name" > "$dir/principals.log" 2>&1
  kadmin.local -r EXAMPLE.TEST -q "ktadd -k $dir/${name%/*}.keytab $name" >> "$dir/principals.log" 2>&1
done
[ -s "$dir/app.keytab" ] || { cat "$dir/principals.log" >&2; exit 1; }
setsid krb5kdc -n -r EXAMPLE.TEST > "$dir/log" 2>&1 < /dev/null &
echo $! > "$dir/kdc.pid"
for ((i = 0; i < 200; i++)); do
  tcp_open "$port" && exit 0
  sleep 0.05
done
echo "kerberos.sh: the KDC is not ready after 10 s:" >&2; cat "$dir/log" >&2; exit 1
