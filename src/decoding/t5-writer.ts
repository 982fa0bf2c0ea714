/** Writing with T5: greedily or by sampling, one hypothesis per text, and by beam search. */
import { LinnetError } from '../errors.ts';
import { type BeamOptions, type BeamScorer, beamSearch, type Hypothesis } from './search/beam-search.ts';
import { eventLoopTurn } from './event-loop.ts';
import { Sampler } from './sampler.ts';
import type { T5Decoder } from './t5-decoder.ts';

export interface WriteOptions {
  /** Most tokens of each text, EOS counted. */
  readonly maxTokens: number;
  /** Default: greedy. */
  readonly sampler?: Sampler;
  /** Takes EOS for any other token. Default false. */
  readonly ignoreEos?: boolean;
  /** Ends writing between two tokens; what there is by then is the result. */
  readonly signal?: AbortSignal;
  /** Told of every token, by the place of its text. */
  readonly onToken?: (text: number, token: number) => void;
}

/** A text that was written. */
export interface WrittenText {
  /** Without EOS. */
  readonly tokens: readonly number[];
  readonly finish: 'eos' | 'length' | 'abort';
}

/**
 * Writes about each of several texts, of any lengths, token by token.
 * @param texts token ids, each with its EOS
 * @throws LinnetError `INPUT` as `T5Decoder.read`, and for a number of tokens below 1
 */
export async function writeTexts(
  decoder: T5Decoder,
  texts: readonly ArrayLike<number>[],
  { maxTokens, sampler = new Sampler(), ignoreEos = false, signal, onToken }: WriteOptions,
): Promise<WrittenText[]> {
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) {
    throw new LinnetError('INPUT', `maxTokens is ${maxTokens}, expected a whole number of at least 1`);
  }
  const ends = new Set(ignoreEos ? [] : decoder.model.eosIds);
  const state = await decoder.read(texts);
  const written = texts.map((): { tokens: number[]; finish: WrittenText['finish'] } => ({
    tokens: [],
    finish: 'length',
  }));
  /** Places of the texts that are still written. */
  let live = texts.map((_, text) => text);
  let last = live.map(() => decoder.model.startId);
  for (let count = 0; count < maxTokens && live.length > 0; count++) {
    await eventLoopTurn();
    if (signal?.aborted === true) {
      for (const text of live) written[text].finish = 'abort';
      break;
    }
    const logits = await decoder.step(state, last);
    const chosen = live.map((text, place) => sampler.next(logits[place], written[text].tokens));
    const going: number[] = [];
    for (const [place, text] of live.entries()) {
      if (ends.has(chosen[place])) {
        written[text].finish = 'eos';
        continue;
      }
      written[text].tokens.push(chosen[place]);
      onToken?.(text, chosen[place]);
      going.push(place);
    }
    if (going.length < live.length) state.select(going, going);
    live = going.map((place) => live[place]);
    last = going.map((place) => chosen[place]);
  }
  return written;
}

/** The best continuations of each text by beam search, best first. @param beams W */
export async function writeByBeams(
  decoder: T5Decoder,
  texts: readonly ArrayLike<number>[],
  beams: number,
  options: Omit<BeamOptions, 'eosIds'> & { readonly ignoreEos?: boolean },
): Promise<Hypothesis[][]> {
  const state = await decoder.read(texts, beams);
  const scorer: BeamScorer = {
    texts: texts.length,
    beams,
    async first() {
      const logits = await decoder.step(state, new Int32Array(state.hypotheses).fill(decoder.model.startId));
      return texts.map((_, text) => logits[text * beams]);
    },
    async next(kept, parents, tokens) {
      await eventLoopTurn();
      state.select(kept, parents);
      return decoder.step(state, tokens);
    },
  };
  return beamSearch(scorer, { ...options, eosIds: options.ignoreEos === true ? [] : decoder.model.eosIds });
}
