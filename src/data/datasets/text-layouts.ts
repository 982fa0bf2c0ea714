/** How the kinds of models read a text, or two, that are not to be continued: with which tokens around them. */
import type { EncoderModel, Model } from '../../models/model.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';

/** The kind of model that reads; `encoder, two SEP` is RoBERTa's. */
export type TextLayout = 'causal' | 'encoder' | 'encoder, two SEP' | 'encoder-decoder';

/** The layout that a model reads. */
export function layoutOf({ kind, separators }: Pick<Model, 'kind'> & Pick<EncoderModel, 'separators'>): TextLayout {
  return kind === 'encoder' && separators === 2 ? 'encoder, two SEP' : kind;
}

/** Tokens of a text or of two. */
export interface LaidOutText {
  readonly tokens: Int32Array;
  /** Where the second text begins; the length where there is none. */
  readonly pairStart: number;
}

/** Tokenizes for a kind of model; `length` is the most tokens there may be, tokens around the texts included. */
type LayOut = (tokenizer: Tokenizer, text: string, pair: string | undefined, length: number) => LaidOutText;

/**
 * - causal: BOS text, between two texts EOS;
 * - encoder: CLS text SEP, and the second text SEP, of RoBERTa after another SEP;
 * - encoder-decoder: text EOS, and the second text EOS.
 */
export const textLayouts: Readonly<Record<TextLayout, LayOut>> = {
  causal: (tokenizer, text, pair, length) =>
    layOut(tokenizer, [text, pair], length, { before: tokenizer.bosId, between: tokenizer.eosId }),
  encoder: (tokenizer, text, pair, length) =>
    layOut(tokenizer, [text, pair], length, {
      before: tokenizer.clsId,
      between: tokenizer.sepId,
      after: tokenizer.sepId,
    }),
  'encoder, two SEP': (tokenizer, text, pair, length) =>
    layOut(tokenizer, [text, pair], length, {
      before: tokenizer.clsId,
      between: tokenizer.sepId,
      betweenCount: 2,
      after: tokenizer.sepId,
    }),
  'encoder-decoder': (tokenizer, text, pair, length) =>
    layOut(tokenizer, [text, pair], length, { between: tokenizer.eosId, after: tokenizer.eosId }),
};

/** Tokens around the texts, where the tokenizer has them. */
interface Surroundings {
  readonly before?: number;
  readonly between?: number;
  /** Default 1. */
  readonly betweenCount?: number;
  readonly after?: number;
}

function layOut(
  tokenizer: Tokenizer,
  [text, pair]: readonly [string, string | undefined],
  length: number,
  { before, between, betweenCount = 1, after }: Surroundings,
): LaidOutText {
  const idOf = (id: number | undefined): number[] => (id === undefined ? [] : [id]);
  const separators = Array.from({ length: betweenCount }, () => idOf(between)).flat();
  const around = idOf(before).length + idOf(after).length + (pair === undefined ? 0 : separators.length);
  const first = tokenizer.encode(text);
  const second = pair === undefined ? new Int32Array(0) : tokenizer.encode(pair);
  const [firstCount, secondCount] = cut(first.length, second.length, Math.max(0, length - around));
  const head = [...idOf(before), ...first.subarray(0, firstCount)];
  if (pair === undefined) {
    const tokens = Int32Array.from([...head, ...idOf(after)]);
    return { tokens, pairStart: tokens.length };
  }
  const lead = [...head, ...separators];
  const tokens = Int32Array.from([...lead, ...second.subarray(0, secondCount), ...idOf(after)]);
  return { tokens, pairStart: lead.length };
}

/** Lengths of two texts that fit together: the longer one is cut first, as Hugging Face's tokenizers do. */
function cut(first: number, second: number, limit: number): [number, number] {
  if (first + second <= limit) return [first, second];
  const half = Math.floor(limit / 2);
  if (first <= half) return [first, limit - first];
  if (second <= limit - half) return [limit - second, second];
  return [half, limit - half];
}
