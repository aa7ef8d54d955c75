#!/bin/sh
# Compiles the engine, the C library and the program for another system, which shows that the sources fit it.
#     release/cross_check.sh aarch64-macos [BUILD FOLDER]
# Needs CMake, Ninja, and zig as a program or as Python's module `ziglang`.
set -eu
target=$1
folder=${2:-build/cross/$target}
source=$(cd "$(dirname "$0")/../native" && pwd)
cmake -S "$source" -B "$folder" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$source/cmake/toolchain-zig.cmake" -DCPU1_TARGET="$target" \
    -DCPU1_LIBRARY=ON
cmake --build "$folder" --parallel
