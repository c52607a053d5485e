#!/bin/sh
# instrumented-rustc.sh RUSTC ARGUMENT…: compiles what is ours with the counters that libFuzzer steers by. As cargo's
# RUSTC_WORKSPACE_WRAPPER, so that dependencies are those of every other build: with a counter at each of their branches too, a run
# would spend its time in them, and the probe of libsystemd's build script would not link.
set -eu
case " $* " in
*" --crate-name "*)
    exec "$@" --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
        -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
        -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
