#!/usr/bin/env bash
# The value of each branch on a real pretrained checkpoint: linearizes stories260k in four ways, fine-tunes each the same
# on text sampled from the model itself, and measures perplexity on the last 20 TinyStories documents (real text).
# Softmax gets the same fine-tuning; the original model has 7.038.
#
#   bench/stories260k.sh FIXTURES [STEPS]      FIXTURES holds stories260k/ and text/; about a minute per mixer
set -euo pipefail
fixtures=${1:?usage: bench/stories260k.sh FIXTURES [STEPS]}
steps=${2:-300}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/linnet-stories.XXXXXX")
trap 'rm -rf "$work"' EXIT
linnet() { node dist/cli/main.js "$@" --json --quiet | tail -n 1; }
field() { node -p "Number(JSON.parse(process.argv[1]).$2).toFixed($3)" "$1"; }
evaluate() { linnet eval perplexity "$1" --data "$fixtures/text/tinystories.jsonl" --documents 110-129 --length 512; }

printf '%-13s %10s %10s %10s %9s\n' mixer 'swapped in' tuned 'train loss' tokens/s
printf '%-13s %10s\n' original "$(field "$(evaluate "$fixtures/stories260k")" perplexity 3)"
for mixer in softmax local local+global local+conv augmented; do
  linnet linearize "$fixtures/stories260k" --mixer "$mixer" --out "$work/$mixer" > /dev/null
  before=$(evaluate "$work/$mixer")
  tuned=$(linnet finetune "$work/$mixer" --data "$fixtures/text/stories-sampled.jsonl" --steps "$steps" --lr 1e-3 \
    --warmup "$((steps / 15))" --schedule linear --batch 16 --length 512 --seed 1 --out "$work/$mixer-tuned")
  after=$(evaluate "$work/$mixer-tuned")
  printf '%-13s %10s %10s %10s %9s\n' "$mixer" "$(field "$before" perplexity 2)" "$(field "$after" perplexity 3)" \
    "$(field "$tuned" loss 4)" "$(field "$tuned" tokensPerSecond 0)"
done
