/** How each kind of model reads one or two texts that are not to be continued: which tokens surround them. */
import type { EncoderModel, Model } from '../../models/model.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** The kind of model; `encoder, two SEP` is RoBERTa's. */
export type TextLayout = 'causal' | 'encoder' | 'encoder, two SEP' | 'encoder-decoder';

/** A model's layout. */
export function layoutOf({ kind, separators }: Pick<Model, 'kind'> & Pick<EncoderModel, 'separators'>): TextLayout {
  return kind === 'encoder' && separators === 2 ? 'encoder, two SEP' : kind;
}

/** Tokens of one text or two. */
export interface LaidOutText {
  readonly tokens: Int32Array;
  /** Where the second text begins; the length if there is none. */
  readonly pairStart: number;
  /** Tokens of the texts that were cut off; undefined if all are there. */
  readonly omitted?: number;
}

type Role = 'bosId' | 'eosId' | 'clsId' | 'sepId';

/** Tokens before a text, between two, and at the end, if the tokenizer has them. */
const surroundings: Readonly<Record<TextLayout, readonly [before: Role[], between: Role[], after: Role[]]>> = {
  causal: [['bosId'], ['eosId'], []],
  encoder: [['clsId'], ['sepId'], ['sepId']],
  'encoder, two SEP': [['clsId'], ['sepId', 'sepId'], ['sepId']],
  'encoder-decoder': [[], ['eosId'], ['eosId']],
};

/** Tokenizes for a kind of model. @param length most tokens, surrounding ones included */
export function layOutText(
  layout: TextLayout,
  tokenizer: Tokenizer,
  text: string,
  pair: string | undefined,
  length: number,
): LaidOutText {
  const [before, separators, after] = surroundings[layout].map((roles) =>
    roles.flatMap((role) => tokenizer[role] ?? []),
  );
  const between = pair === undefined ? [] : separators;
  const around = before.length + between.length + after.length;
  const first = tokenizer.encode(text);
  const second = pair === undefined ? new Int32Array(0) : tokenizer.encode(pair);
  const [firstCount, secondCount] = cut(first.length, second.length, Math.max(0, length - around));
  const lead = [...before, ...first.subarray(0, firstCount), ...between];
  const tokens = Int32Array.from([...lead, ...second.subarray(0, secondCount), ...after]);
  const omitted = first.length + second.length - firstCount - secondCount || undefined;
  return { tokens, pairStart: pair === undefined ? tokens.length : lead.length, omitted };
}

/** Lengths of two texts that fit together: cuts the longer one first, like Hugging Face's tokenizers. */
function cut(first: number, second: number, limit: number): [number, number] {
  if (first + second <= limit) return [first, second];
  const half = Math.floor(limit / 2);
  if (first <= half) return [first, limit - first];
  if (second <= limit - half) return [limit - second, second];
  return [half, limit - half];
}
