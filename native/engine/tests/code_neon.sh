#!/bin/sh
# Builds code.cpp with the whole engine for aarch64 into a folder and says how to run it: code_neon.sh FOLDER. Needs
# what test_neon.sh needs; exits 77 where that is not installed.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
compiler=$(command -v aarch64-linux-gnu-g++) || { echo "no aarch64-linux-gnu-g++"; exit 77; }
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || { echo "no qemu-aarch64"; exit 77; }
flags="-std=c++17 -O1 -Wall -Wextra -ffp-contract=off -fno-math-errno -fno-trapping-math -march=armv8.2-a+dotprod"
jobs=
for part in tests/code api/engine format/container format/json format/operations format/program kernels/dispatch \
    kernels/kernels_neon kernels/kernels_portable run/arena run/coder run/model run/pool run/runner run/sampling run/session; do
    # shellcheck disable=SC2086
    "$compiler" $flags -DCPU1_WITH_neon -I"$here" -c "$here/$part.cpp" -o "$1/$(basename "$part").o" &
    jobs="$jobs $!"
done
for job in $jobs; do wait "$job"; done
"$compiler" -static -pthread "$1"/*.o -o "$1/code"
echo "$emulator $1/code"
