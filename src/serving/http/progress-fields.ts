/**
 * What a stream says about itself to whoever asks by `stream_options: {"include_tree": true}`: the trees of speculative
 * decoding with their accepted paths, where the text is, and how large its state. Other clients see nothing of it.
 */
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { ServiceEvent } from '../../engine/text/text-service.ts';
import type { TokenPieces } from '../../engine/text/token-pieces.ts';
import type { SamplingFields } from './request-fields.ts';

/** Makes the field `linnet` of chunks; nothing where it is not asked for. */
export class ProgressFields {
  readonly #asked: boolean;
  readonly #pieces: TokenPieces;
  #state: SequenceState | undefined;

  constructor({ stream_options: options }: SamplingFields, pieces: TokenPieces) {
    this.#asked = options?.include_tree === true;
    this.#pieces = pieces;
  }

  /** What to spread into the chunk of an event. */
  of(event: ServiceEvent): { readonly linnet?: object } {
    if (!this.#asked || event.type === 'progress') return {};
    if (event.type === 'prompt') {
      this.#state = event.state;
      return { linnet: { ...this.#place, cached: event.cached } };
    }
    if (event.type === 'end') {
      const { state, tokens, tokensPerSecond, steps } = event.generation;
      return {
        linnet: {
          position: state.length,
          state_bytes: state.bytes,
          written: tokens.length,
          rounds: steps,
          tokens_per_second: tokensPerSecond,
        },
      };
    }
    const trees = event.trees.map(({ tokens, parents, accepted, next }) => ({
      tokens: Array.from(tokens, (token) => this.#pieces.of(token)),
      parents: Array.from(parents),
      accepted,
      next: this.#pieces.of(next),
    }));
    return { linnet: { ...this.#place, trees } };
  }

  /** Several choices have states of their own, of which the first is reported. */
  get #place() {
    return { position: this.#state?.length ?? 0, state_bytes: this.#state?.bytes ?? 0 };
  }
}
