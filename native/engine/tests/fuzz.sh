#!/bin/sh
# Builds the fuzzer with sanitizers and runs it: fuzz.sh SEED_FILE RUNS [FIRST]. CXX may name the compiler, FUZZ_BUILD
# a folder that keeps the build.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
work=${FUZZ_BUILD:-$(mktemp -d)}
[ -n "${FUZZ_BUILD:-}" ] || trap 'rm -rf "$work"' EXIT
flags="-std=c++17 -O1 -g -Wall -Wextra -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all -pthread"
parts="tests/fuzz api/engine format/container format/json format/operations format/program kernels/dispatch
    kernels/kernels_portable run/arena run/coder run/model run/pool run/runner run/sampling run/session"
if [ ! -x "$work/fuzz" ]; then
    jobs=
    for part in $parts; do
        # shellcheck disable=SC2086
        ${CXX:-g++} $flags -I"$here" -c "$here/$part.cpp" -o "$work/$(basename "$part").o" &
        jobs="$jobs $!"
    done
    for job in $jobs; do wait "$job"; done
    # shellcheck disable=SC2086
    ${CXX:-g++} $flags "$work"/*.o -o "$work/fuzz"
fi
ASAN_OPTIONS=allocator_may_return_null=1 "$work/fuzz" "$@"
