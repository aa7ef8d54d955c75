#!/bin/sh
# Builds the NEON kernels with a cross compiler and runs their test under qemu's user emulation. Needs Debian's
# g++-aarch64-linux-gnu and qemu-user (or qemu-user-static); exits 77 where they are not installed.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
compiler=$(command -v aarch64-linux-gnu-g++) || { echo "no aarch64-linux-gnu-g++"; exit 77; }
emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static) || { echo "no qemu-aarch64"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-std=c++17 -O2 -Wall -Wextra -ffp-contract=off -fno-math-errno -fno-trapping-math -I$here"
"$compiler" $flags -march=armv8.2-a+dotprod -c "$here/kernels/kernels_neon.cpp" -o "$work/neon.o"
"$compiler" $flags -DCPU1_WITH_neon -static "$here/kernels/kernels_portable.cpp" "$here/kernels/dispatch.cpp" "$here/tests/test_kernels.cpp" "$work/neon.o" \
    -o "$work/test"
"$emulator" "$work/test"
