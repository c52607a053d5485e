#!/usr/bin/env bash
# Runs a command with a Garage of its own: `scripts/with-garage.sh COMMAND…`. Its port is $PORT (default 3900).
set -euo pipefail

home=$(mktemp -d)
garage=$(dirname "$0")/../tests/garage.sh

finish() {
  [ ! -e "$home/pid" ] || "$garage" stop "$home"
  rm -rf "$home"
}
trap finish EXIT

"$garage" start "$home"
eval "$("$garage" env)"
"$@"
