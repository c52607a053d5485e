#!/usr/bin/env bash
# A real S3 server for the tests: Garage, one node, on the loopback interface.
#
#   tests/garage.sh install      builds it with cargo; takes tens of minutes on a small machine
#   tests/garage.sh start DIR    serves from DIR (made if missing) on port $PORT (default 3900)
#   tests/garage.sh env          prints the variables that make the tests use it
#   tests/garage.sh stop DIR     ends it; DIR stays
set -euo pipefail

version=2.5.0
port=${PORT:-3900}
garage=${GARAGE:-${CARGO_HOME:-$HOME/.cargo}/bin/garage}
# Nothing but this machine can reach the server, so its keys need not be secret.
key_id=GK5e1fc0de5e1fc0de5e1fc0de
secret=5e1fc0de5e1fc0de5e1fc0de5e1fc0de5e1fc0de5e1fc0de5e1fc0de5e1fc0de

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

install() {
  [ ! -x "$garage" ] || return 0
  local sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get install -y --no-install-recommends libsodium-dev pkg-config cmake clang
  cargo install garage --version "$version" --locked
}

configure() {
  mkdir -p "$1"
  [ ! -e "$1/garage.toml" ] || return 0
  cat >"$1/garage.toml" <<TOML
metadata_dir = "$1/meta"
data_dir = "$1/data"
db_engine = "lmdb"
replication_factor = 1
compression_level = "none"
# Speed matters here, and surviving a power cut does not.
metadata_fsync = false
data_fsync = false
rpc_bind_addr = "127.0.0.1:$((port + 1))"
rpc_public_addr = "127.0.0.1:$((port + 1))"
rpc_secret = "$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$port"
[admin]
api_bind_addr = "127.0.0.1:$((port + 3))"
TOML
}

start() {
  local dir
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  configure "$dir"
  export GARAGE_CONFIG_FILE=$dir/garage.toml RUST_LOG=garage=warn
  setsid "$garage" server >"$dir/log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  local tries=0
  until "$garage" status >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ] || ! kill -0 "$(cat "$dir/pid")" 2>/dev/null; then
      echo "garage did not start; its log:" >&2
      cat "$dir/log" >&2
      exit 1
    fi
    sleep 0.2
  done
  # A new node has no role yet.
  if "$garage" status 2>/dev/null | grep -q 'NO ROLE'; then
    "$garage" layout assign -z here -c 50G "$("$garage" node id -q 2>/dev/null | cut -d@ -f1)" >/dev/null 2>&1
    "$garage" layout apply --version 1 >/dev/null 2>&1
    "$garage" key import --yes -n tests "$key_id" "$secret" >/dev/null 2>&1
    "$garage" key allow --create-bucket "$key_id" >/dev/null 2>&1
  fi
}

print_env() {
  echo "export TEST_S3_ENDPOINT=http://127.0.0.1:$port"
  echo "export TEST_S3_REGION=garage"
  echo "export TEST_S3_ACCESS_KEY_ID=$key_id"
  echo "export TEST_S3_SECRET_ACCESS_KEY=$secret"
  # Counters of requests by operation, open to everybody on this machine.
  echo "export TEST_S3_METRICS=http://127.0.0.1:$((port + 3))/metrics"
}

stop() {
  local pid
  pid=$(cat "$1/pid")
  kill "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  rm -f "$1/pid"
}

case ${1:-} in
  install) install ;;
  start) start "${2:?a folder}" ;;
  env) print_env ;;
  stop) stop "${2:?a folder}" ;;
  *) usage ;;
esac
