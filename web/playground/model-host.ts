/** The worker's model and the texts that it writes. */
import {
  browserWeights,
  generate,
  LinnetError,
  LookupDrafter,
  open,
  preparePrompt,
  Sampler,
  type SequenceState,
  speculative,
} from '../../src/web.ts';
import type {
  ModelFacts,
  ChosenModel,
  AnswerProgress,
  ShownTree,
  TextFacts,
  WriteOptions,
  Written,
} from './protocol.ts';
import type { OpenedSource } from './train-host.ts';
import { readSessionText, writeSessionText } from './session-text.ts';

/** A text, and what the model remembers of it: all of the text but the last token, or less. */
interface HeldText {
  readonly tokens: readonly number[];
  readonly state: SequenceState;
  readonly random: Sampler['random']['state'] | undefined;
}

/** An address that no host has: files of a dropped folder go by it, and no request is made. */
const droppedFolder = 'https://folder.invalid/';

export class ModelHost {
  #opened: OpenedSource | undefined;
  readonly #texts = new Map<number, HeldText>();
  #writing: AbortController | undefined;

  /** @throws LinnetError as `open` of `linnet/web`, and `CONFIG` for a model that does not continue texts */
  async open(
    source: ChosenModel,
    wanted: number | undefined,
    onProgress: (progress: AnswerProgress) => void,
  ): Promise<ModelFacts> {
    this.stop();
    const before = this.#opened;
    const usual = Math.min(4, Math.max(1, Math.floor(navigator.hardwareConcurrency / 2)));
    const threads = crossOriginIsolated ? (wanted ?? usual) : 1;
    const url = source.kind === 'url' ? source.url : droppedFolder;
    const options = {
      threads,
      ...(source.kind === 'url' ? { cache: await browserWeights() } : { fetch: fetchFrom(source.files) }),
    };
    const opened = await open(url, {
      ...options,
      onProgress: (progress) => onProgress({ type: 'opening', ...progress }),
    });
    if (opened.kind !== 'causal') {
      await opened.dispose();
      throw new LinnetError('CONFIG', `${opened.family} reads a text before it writes; the playground continues texts`);
    }
    this.#opened = { model: opened, url, options };
    this.#texts.clear();
    await before?.model.dispose();
    const { sizes, mixers } = opened.description;
    const { manifest: exported } = opened;
    const { layers, keyValueHeads, headWidth, valueWidth = headWidth } = sizes;
    return {
      name: source.kind === 'url' ? lastPart(source.url) : source.name,
      family: opened.family,
      layers,
      mixers: [...new Set(mixers.map(({ kind }) => kind))],
      device: exported?.device === 'webgpu' ? 'webgpu' : 'wasm',
      dtype: exported?.dtype ?? 'f32',
      threads,
      isolated: crossOriginIsolated,
      cacheBytesPerToken: layers * keyValueHeads * (headWidth + valueWidth) * Float32Array.BYTES_PER_ELEMENT,
    };
  }

  /** @throws LinnetError as `generate` */
  async write(
    id: number,
    added: string,
    { maxTokens, sampler: settings, speculate }: WriteOptions,
    onProgress: (progress: AnswerProgress) => void,
  ): Promise<Written> {
    const model = this.source().model;
    const { tokenizer } = model;
    const engine = await model.engine();
    const held = this.#texts.get(id);
    const state = held?.state ?? engine.newState();
    const { tokens: given } = preparePrompt({ engine, tokenizer }, { text: added }, { after: held });
    const sampler = new Sampler(settings, held?.random);
    let tree: ShownTree | undefined;
    const textOf = (token: number): string => tokenizer.decode([token]);
    const method = speculate
      ? speculative(new LookupDrafter(), {
          onTree({ tokens, parents, accepted, next }) {
            tree = { tokens: [...tokens].map(textOf), parents: [...parents], accepted, next: textOf(next) };
          },
        })
      : undefined;
    const { signal } = (this.#writing = new AbortController());
    const tokens: number[] = [];
    let ended: Omit<Written, keyof TextFacts> | undefined;
    try {
      // The end of a text is a token like others here: a chart of a growing text is to grow.
      const options = { promptTokens: given, state, tokenizer, sampler, method, maxTokens, ignoreEos: true, signal };
      for await (const event of generate(engine, options)) {
        if (event.type === 'tokens') {
          tokens.push(...event.tokens);
          const length = given.length + tokens.length;
          onProgress({ type: 'written', text: event.text, length, stateBytes: state.bytes, tree });
          tree = undefined;
        } else if (event.type === 'end') {
          const { steps, tokensPerSecond, finish } = event.generation;
          ended = { tokens: event.generation.tokens, rounds: steps, tokensPerSecond, finish };
        }
      }
    } finally {
      this.#writing = undefined;
      this.#texts.set(id, { tokens: [...given, ...tokens], state, random: sampler.random.state });
    }
    if (ended === undefined) throw new LinnetError('RUNTIME', 'the text did not come to its end');
    return { ...this.#factsOf(id), ...ended };
  }

  fork(id: number, from: number): TextFacts {
    const held = this.#held(from);
    this.#texts.set(id, { ...held, state: held.state.fork() });
    return this.#factsOf(id);
  }

  save(id: number): string {
    const { tokens, random } = this.#held(id);
    return writeSessionText({ tokens, random }, this.source().model.fingerprint);
  }

  /** @throws LinnetError as `readSessionText` */
  async restore(id: number, file: string): Promise<TextFacts> {
    const model = this.source().model;
    const { tokens, random } = readSessionText(file, model.fingerprint, model.description.sizes.vocabulary);
    const engine = await model.engine();
    const state = engine.newState();
    // The last token is read with the first step of what follows.
    if (tokens.length > 1) await engine.prefill(state, tokens.slice(0, -1));
    this.#texts.set(id, { tokens, state, random });
    return this.#factsOf(id);
  }

  forget(id: number): void {
    this.#texts.delete(id);
  }

  /** Ends the writing under way between two steps. */
  stop(): void {
    this.#writing?.abort();
  }

  /** The open model, and where it came from. @throws LinnetError `INPUT` where there is none */
  source(): OpenedSource {
    if (this.#opened !== undefined) return this.#opened;
    throw new LinnetError('INPUT', 'no model is open; open one first');
  }

  #held(id: number): HeldText {
    const held = this.#texts.get(id);
    if (held !== undefined) return held;
    throw new LinnetError('INPUT', `there is no text ${id}; write one first`);
  }

  #factsOf(id: number): TextFacts {
    const { tokens, state } = this.#held(id);
    return { text: this.source().model.tokenizer.decode(tokens), length: tokens.length, stateBytes: state.bytes };
  }
}

/** Answers requests with files of a folder that the reader gave. */
function fetchFrom(files: ReadonlyMap<string, File>): typeof fetch {
  return async (input) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const file = files.get(decodeURIComponent(url.pathname.slice(1)));
    return file === undefined ? new Response(null, { status: 404 }) : new Response(file);
  };
}

function lastPart(url: string): string {
  return new URL(url, location.href).pathname.split('/').findLast((part) => part !== '') ?? url;
}
