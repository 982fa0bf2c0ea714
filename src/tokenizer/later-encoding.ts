/**
 * Tokenizes long texts, which take seconds, in another thread, for callers that can wait: the caller's function runs, its
 * long texts are noted, and it runs again when their tokens are ready. Also runs in browsers, which have no such thread.
 */
import type { EncodeOptions } from './text-tokens.ts';

/** The tokenizer in another thread. */
export interface LaterEncoder {
  /** Tells tokenizers apart. */
  readonly name: string;
  /**
   * Undefined if there is no such thread, or it cannot load the tokenizer: encode the text in place.
   * @param signal skips a text not yet begun when it fires
   */
  encode(text: string, follows: EncodeOptions['follows'], signal?: AbortSignal): Promise<Int32Array | undefined>;
}

/** Most characters encoded in place per run: a tenth of a second. */
const mostInPlace = 1 << 14;
/** Stands for tokens still to be made. */
const placeholder = Int32Array.of(0);

interface Run {
  readonly known: ReadonlyMap<string, Int32Array | undefined>;
  readonly asked: Map<string, Promise<Int32Array | undefined>>;
  readonly signal: AbortSignal | undefined;
  inPlace: number;
}

let run: Run | undefined;

/** Tokens from the other thread, or a placeholder until they are ready; undefined for a text to encode in place. */
export function laterTokens(
  encoder: LaterEncoder,
  text: string,
  follows: EncodeOptions['follows'],
): Int32Array | undefined {
  if (run === undefined) return undefined;
  const key = `${encoder.name} ${follows} ${text}`;
  if (run.known.has(key)) return run.known.get(key);
  run.inPlace += text.length;
  if (run.inPlace <= mostInPlace) return undefined;
  if (!run.asked.has(key)) run.asked.set(key, encoder.encode(text, follows, run.signal));
  return placeholder;
}

/**
 * The result of a function that tokenizes texts, without blocking this thread for long.
 * @param make runs once, and again after long texts were tokenized elsewhere; it must have no side effects
 * @param signal when it fires, texts waiting for the other thread are skipped, with an error `ABORTED`
 * @throws the function's errors, and errors from the other thread
 */
export async function whenEncoded<T>(make: () => T, signal?: AbortSignal): Promise<T> {
  const known = new Map<string, Int32Array | undefined>();
  for (;;) {
    const own: Run = { known, asked: new Map(), inPlace: 0, signal };
    let result: { readonly value: T } | { readonly failure: unknown };
    run = own;
    try {
      result = { value: make() };
    } catch (failure) {
      result = { failure };
    } finally {
      run = undefined;
    }
    if (own.asked.size > 0) {
      await Promise.all([...own.asked].map(async ([key, tokens]) => known.set(key, await tokens)));
    } else if ('value' in result) return result.value;
    else throw result.failure;
  }
}
