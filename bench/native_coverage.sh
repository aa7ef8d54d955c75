#!/usr/bin/env bash
# Which lines of the engine its own test programs reach: bench/native_coverage.sh [MODEL]. Needs g++ and gcov.
set -euo pipefail
cd "$(dirname "$0")/.."
model=${1:-checkpoints/default.cpu1}
build=build/coverage
cmake -S native -B $build -DCPU1_COVERAGE=ON -DCPU1_OPTIMISE=-O0 >/dev/null
cmake --build $build --parallel "$(nproc)" --target test_kernels code fuzz >/dev/null
find $build -name '*.gcda' -delete
$build/engine/test_kernels >/dev/null
$build/engine/fuzz "$model" 300 >/dev/null
find $build/engine -name '*.gcno' -print0 | xargs -0 gcov --no-output 2>/dev/null | awk -v root="$PWD/" '
    /^File/ { split($0, quoted, "\047"); file = quoted[2]; sub(root, "", file) }
    /^Lines executed/ && file ~ /^native\/engine/ && file !~ /tests/ {
        split($0, part, /[:%]/); share = part[2] + 0; split($0, words, " of ")
        if (!(file in best) || share > best[file]) { best[file] = share; lines[file] = words[2] }
    }
    END {
        for (file in best) {
            printf "%6.1f%% of %4d  %s\n", best[file], lines[file], file | "sort -k4"
            all += lines[file]; hit += lines[file] * best[file] / 100
        }
        close("sort -k4")
        printf "%6.1f%% of %4d lines in all\n", 100 * hit / all, all
    }'
