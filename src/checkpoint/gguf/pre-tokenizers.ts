/** How texts are split before bytes are merged, by GGUF's names (`tokenizer.ggml.pre`). */

/** Expressions that split one after the other; matches stand alone, as do the texts between them. */
export interface PreTokenizer {
  readonly splits: readonly string[];
  /** Whether a text that equals a token becomes it, whatever the merges. */
  readonly wholeWords?: boolean;
  /** Whether BOS precedes a text if the file does not say. */
  readonly bos?: boolean;
}

const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/** LLaMA 3's expression, for numbers of at most this many digits. */
function llama3(digits: string): string {
  return String.raw`${endings}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`;
}

/** Words split at capitals after small letters, as in GPT-4o and Mistral's Tekken. @param ends of English words */
function cased(ends: string, digits: string): string {
  // llama.cpp distinguishes case only in ASCII.
  const upper = String.raw`(?:(?=\p{L})[^a-z])`;
  const lower = String.raw`(?:(?=\p{L})[^A-Z])`;
  const before = String.raw`[^\r\n\p{L}\p{N}]?`;
  return (
    `${before}${upper}*${lower}+${ends}|${before}${upper}+${lower}*${ends}|` +
    String.raw`\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`
  );
}

/** Splits with their names. */
const cuts: readonly (readonly [names: string, cut: PreTokenizer])[] = [
  ['default', { splits: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2, String.raw`\p{N}+`, '[0-9][0-9][0-9]'] }],
  ['gpt-2 olmo phi-2 mpt jais trillion granite-docling', { splits: [gpt2] }],
  [
    'llama-bpe llama3 llama-v3 falcon-h1 falcon3 lfm2 pixtral',
    { splits: [llama3('{1,3}')], wholeWords: true, bos: true },
  ],
  ['dbrx smaug-bpe', { splits: [llama3('{1,3}')] }],
  ['qwen2 deepseek-r1-qwen megrez stablelm2 hunyuan', { splits: [llama3('')] }],
  [
    'qwen35',
    {
      splits: [String.raw`${endings}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${spaces}`],
    },
  ],
  ['smollm starcoder refact command-r codeshell exaone', { splits: [String.raw`\p{N}`, gpt2] }],
  ['tekken', { splits: [cased('', '')], wholeWords: true }],
  ['gpt-4o llama4', { splits: [cased(`${endings}?`, '{1,3}')] }],
];

/** Splits by name. */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map(
  cuts.flatMap(([names, cut]) => names.split(' ').map((name) => [name, cut])),
);
