#!/usr/bin/env bash
# fuzz.sh TARGET-DIRECTORY SECONDS [--keep]: runs every fuzz target for so long, from the inputs that are kept in fuzz/corpus. An
# input that breaks something is left in TARGET-DIRECTORY/fuzz, and told. --keep adds to fuzz/corpus what has led to new places.
set -euo pipefail
target=$1 seconds=$2 keep=${3-}
export RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/instrumented-rustc.sh
"${CARGO:-cargo}" build --package agent-portail-fuzz --bins
for source in fuzz/fuzz_targets/*.rs; do
  name=$(basename "$source" .rs)
  found=$target/fuzz/$name
  mkdir -p "$found" "fuzz/corpus/$name"
  echo "== $name, $seconds s"
  # A listing waits for the network stack at each step, so its time limit for one input is in seconds, too.
  "$target/debug/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$found-" "$found" "fuzz/corpus/$name" 2>"$found.log" || {
    tail -n 40 "$found.log" >&2
    echo "fuzz: $name has failed; repeat it with: $target/debug/$name $found-…" >&2
    exit 1
  }
  grep -E '^stat::(number_of_executed_units|new_units_added|peak_rss_mb)' "$found.log"
  if [ "$keep" = --keep ]; then
    "$target/debug/$name" -merge=1 "fuzz/corpus/$name" "$found" 2>>"$found.log"
  fi
done
