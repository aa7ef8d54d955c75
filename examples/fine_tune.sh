#!/bin/sh
# Fine-tunes the bundled model on a text of your own. Prints the bits per byte of its held-out part, then a sample.
#
#     sh examples/fine_tune.sh my-text.txt runs/mine [MINUTES]
set -eu
text=$1 run=$2 minutes=${3:-5}
cpu1 train --from default --data "$text" --minutes "$minutes" --out "$run"
cpu1 generate "The " -m "$run/model.cpu1" --max-bytes 200 --seed 0
