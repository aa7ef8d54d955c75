#!/bin/sh
# Fine-tunes the model that comes with an installation on a text of your own, and compares the two on its held-out part.
#
#     sh examples/fine_tune.sh my-text.txt runs/mine [MINUTES]
set -eu
text=$1 run=$2 minutes=${3:-5}
cpu1 train --from default --data "$text" --minutes "$minutes" --out "$run"
cpu1 pack "$run" -o "$run.cpu1"
cpu1 generate --model "$run.cpu1" --max-bytes 200 --seed 0 "The "
