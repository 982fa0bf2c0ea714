/** How texts are cut before bytes are merged, by the names that GGUF files give it (`tokenizer.ggml.pre`). */

/** Expressions that cut one after the other; matches stand alone, and so do texts between them. */
export interface PreTokenizer {
  readonly splits: readonly string[];
  /** Whether a text that is a token is that token, whatever the merges. */
  readonly wholeWords?: boolean;
  /** Whether BOS stands before a text where the file does not say. */
  readonly bos?: boolean;
}

const gpt2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const endings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const spaces = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/** LLaMA 3's expression with numbers of up to some digits. */
function llama3(digits: string): string {
  return String.raw`${endings}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${spaces}`;
}

const llama: PreTokenizer = { splits: [llama3('{1,3}')], wholeWords: true, bos: true };

/** Words of capitals before small letters, as GPT-4o and Mistral's Tekken cut them. @param ends of English words */
function cased(ends: string, digits: string): string {
  // llama.cpp tells capitals of ASCII alone.
  const upper = String.raw`(?:(?=\p{L})[^a-z])`;
  const lower = String.raw`(?:(?=\p{L})[^A-Z])`;
  const before = String.raw`[^\r\n\p{L}\p{N}]?`;
  return (
    `${before}${upper}*${lower}+${ends}|${before}${upper}+${lower}*${ends}|` +
    String.raw`\p{N}${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${spaces}`
  );
}

const byDigit: PreTokenizer = { splits: [String.raw`\p{N}`, gpt2] };
const plain: PreTokenizer = { splits: [gpt2] };
const qwen: PreTokenizer = { splits: [llama3('')] };

/** By name; names of one line are the same. */
const preTokenizers: Readonly<Record<string, PreTokenizer>> = {
  default: {
    splits: [String.raw`[\p{P}\$\+<=>\^~\|]+`, gpt2, String.raw`\p{N}+`, '[0-9][0-9][0-9]'],
  },
  'gpt-2': plain,
  olmo: plain,
  'phi-2': plain,
  mpt: plain,
  jais: plain,
  trillion: plain,
  'granite-docling': plain,
  'llama-bpe': llama,
  llama3: llama,
  'llama-v3': llama,
  'falcon-h1': llama,
  falcon3: llama,
  lfm2: llama,
  pixtral: llama,
  dbrx: { splits: [llama3('{1,3}')] },
  'smaug-bpe': { splits: [llama3('{1,3}')] },
  qwen2: qwen,
  'deepseek-r1-qwen': qwen,
  megrez: qwen,
  stablelm2: qwen,
  hunyuan: qwen,
  qwen35: {
    splits: [String.raw`${endings}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${spaces}`],
  },
  smollm: byDigit,
  starcoder: byDigit,
  refact: byDigit,
  'command-r': byDigit,
  codeshell: byDigit,
  exaone: byDigit,
  tekken: { splits: [cased('', '')], wholeWords: true },
  'gpt-4o': { splits: [cased(`${endings}?`, '{1,3}')] },
  llama4: { splits: [cased(`${endings}?`, '{1,3}')] },
};

/** The names that are read. */
export function preTokenizerNames(): readonly string[] {
  return Object.keys(preTokenizers);
}

/** @returns undefined for an unknown name */
export function preTokenizer(name: string): PreTokenizer | undefined {
  return Object.hasOwn(preTokenizers, name) ? preTokenizers[name] : undefined;
}
