#!/usr/bin/env bash
# Counts the instructions of each hot path of benches/hot_paths, run once: the same on a busy machine as on an idle one.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v valgrind >/dev/null; then
  echo "callgrind: install valgrind" >&2
  exit 1
fi
bench=("${CARGO:-cargo}" bench --profile hot-paths --bench hot_paths --no-run)
"${bench[@]}"
program=$("${bench[@]}" --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"hot_paths".*"executable":"\([^"]*\)".*/\1/p')

counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT
# Nothing counts but what the functions of work.rs do, and what they call.
if ! valgrind --tool=callgrind --callgrind-out-file="$counts/out" --collect-atstart=no \
  --toggle-collect='hot_paths::work::*' "$program" --test >"$counts/log" 2>&1; then
  cat "$counts/log" >&2
  exit 1
fi
echo 'instructions, with all that is called:'
callgrind_annotate --inclusive=yes --threshold=100 "$counts/out" |
  sed -nE 's/^ *([0-9,]+) \([^)]*\).*hot_paths::work::([a-z_]+).*/\1 \2/p' |
  awk '{ printf "%16s  %s\n", $1, $2 }'
