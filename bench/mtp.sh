#!/usr/bin/env bash
# The gain from a multi-token prediction layer: trains a small Qwen3.5 with eight layers, six of them gated delta nets, on weather
# bulletins, then its layer on the same text. Decodes 20,480 greedy tokens with drafts in every round, and as many with drafts when
# they pay: exits with code 1 if one differs from one-by-one decoding.
#
#   bench/mtp.sh [STEPS]      STEPS of pretraining and of the layer's training, default 400; about two minutes on two cores
#   LINNET_WORK=folder keeps models and runs there
set -euo pipefail
steps=${1:-400}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=${LINNET_WORK:-$(mktemp -d "${TMPDIR:-/tmp}/linnet-mtp.XXXXXX")}
[[ -n ${LINNET_WORK:-} ]] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
linnet() { node --import tsx src/cli/main.ts "$@"; }

node --import tsx bench/weather-bulletins.ts "$work/bulletins.jsonl" 400 1
cat > "$work/config.json" <<'JSON'
{ "model_type": "qwen3_5_text", "architectures": ["Qwen3_5ForCausalLM"], "vocab_size": 512, "hidden_size": 96, "intermediate_size": 256,
  "num_hidden_layers": 8, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 32, "full_attention_interval": 4,
  "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 24, "linear_value_head_dim": 24,
  "linear_conv_kernel_dim": 4, "max_position_embeddings": 8192, "tie_word_embeddings": true, "mtp_num_hidden_layers": 1 }
JSON
text=(--data "$work/bulletins.jsonl")
common=("${text[@]}" --held-out 20 --schedule cosine --batch 4 --length 192 --seed 1 --steps "$steps" --warmup 20 --lr 4e-3 --replace)
linnet tokenizer train "${text[@]}" --vocabulary 512 --out "$work/tokenizer"
linnet pretrain "$work/config.json" --tokenizer "$work/tokenizer" "${common[@]}" --out "$work/model"
linnet medusa train "$work/model" --mtp --heads 3 "${common[@]}" --out "$work/mtp"
linnet bench speculate "$work/mtp" "${text[@]}" --context 64,512 --temperature 0 --prompts 20 --tokens 512 --rounds 1 --threads 1
