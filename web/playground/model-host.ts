/** A page's model, and the texts that it writes. */
import {
  browserWeights,
  drafterMakers,
  LearnedTexts,
  LinnetError,
  open,
  speculative,
  type Session,
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
import type { SharedModel, SharedModels } from './shared-models.ts';
import type { OpenedSource } from './train-host.ts';

/** An address without a host: files of a dropped folder are read under it, and no request is made. */
const droppedFolder = 'https://folder.invalid/';

export class ModelHost {
  readonly #models: SharedModels;
  #opened: OpenedSource | undefined;
  #release: SharedModel['release'] | undefined;
  #isClosed = false;
  readonly #texts = new Map<number, Session>();
  #writing: AbortController | undefined;
  /** Texts of the open model that drafters learn from. */
  #learned = new LearnedTexts();

  constructor(models: SharedModels) {
    this.#models = models;
  }

  /** @throws LinnetError as `open` of `linnet/web`, and `CONFIG` for a model that does not continue texts */
  async open(
    source: ChosenModel,
    wanted: number | undefined,
    onProgress: (progress: AnswerProgress) => void,
  ): Promise<ModelFacts> {
    this.stop();
    const usual = Math.min(4, Math.max(1, Math.floor(navigator.hardwareConcurrency / 2)));
    const threads = crossOriginIsolated ? (wanted ?? usual) : 1;
    const url = source.kind === 'url' ? source.url : droppedFolder;
    const options = {
      threads,
      ...(source.kind === 'url' ? { cache: await browserWeights() } : { fetch: fetchFrom(source.files) }),
    };
    // Other pages cannot share dropped files.
    const key = source.kind === 'url' ? `${new URL(url, location.href).href} ${threads}` : crypto.randomUUID();
    const { model: opened, release } = await this.#models.take(key, () =>
      open(url, { ...options, onProgress: (progress) => onProgress({ type: 'opening', ...progress }) }),
    );
    if (this.#isClosed) {
      await release();
      throw new LinnetError('ABORTED', 'the page has gone');
    }
    this.#opened = { model: opened, url, options };
    const before = this.#release;
    this.#release = release;
    this.#texts.clear();
    this.#learned = new LearnedTexts();
    await this.#giveBack(before);
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
    const { model } = this.source();
    const text = this.#texts.get(id) ?? model.session();
    this.#texts.set(id, text);
    let tree: ShownTree | undefined;
    const textOf = (token: number): string => model.tokenizer.decode([token]);
    const method =
      speculate === 'off'
        ? undefined
        : speculative(drafterMakers[speculate](this.#learned), {
            onTree({ tokens, parents, accepted, next, source }) {
              const texts = [...tokens].map(textOf);
              const sources = texts.map((_, node) => source(node));
              tree = { tokens: texts, parents: [...parents], accepted, next: textOf(next), sources };
            },
          });
    const { signal } = (this.#writing = new AbortController());
    let { length } = text.tokens;
    let stateBytes = (): number => text.bytes;
    // The end-of-text token does not stop the text: the chart shows a growing one.
    const pieces = text.continue(added, {
      ...{ ...settings, method, maxTokens, signal, ignoreEos: true },
      onEvent(event) {
        if (event.type === 'prompt') {
          const { state, total } = event;
          length = total;
          stateBytes = () => state.bytes;
        }
        if (event.type !== 'tokens') return;
        length += event.tokens.length;
        onProgress({ type: 'written', text: event.text, length, stateBytes: stateBytes(), tree });
        tree = undefined;
      },
    });
    try {
      await this.#models.inTurn(() => pieces.text());
    } finally {
      this.#writing = undefined;
    }
    const { tokens, steps: rounds, tokensPerSecond, finish } = pieces.generation;
    return { ...this.#factsOf(id), tokens, rounds, tokensPerSecond, finish };
  }

  fork(id: number, from: number): TextFacts {
    this.#texts.set(id, this.#held(from).fork());
    return this.#factsOf(id);
  }

  /** Saves a text in the browser. @throws LinnetError as `Session.save` */
  save(id: number, name: string): Promise<void> {
    return this.#held(id).save(name);
  }

  /** Opens a kept text. @throws LinnetError as `Session.load` */
  async restore(id: number, name: string): Promise<TextFacts> {
    const text = this.source().model.session();
    await text.load(name);
    this.#texts.set(id, text);
    return this.#factsOf(id);
  }

  forget(id: number): void {
    this.#texts.delete(id);
  }

  /** Called when the page has gone; waits for work under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.stop();
    await this.#giveBack(this.#release);
    this.#texts.clear();
  }

  /** Stops writing between two steps. */
  stop(): void {
    this.#writing?.abort();
  }

  /** The open model and its source. @throws LinnetError `INPUT` if there is none */
  source(): OpenedSource {
    if (this.#opened !== undefined) return this.#opened;
    throw new LinnetError('INPUT', 'no model is open; open one first');
  }

  /** Releases the model once no work under way uses it. */
  #giveBack(release: SharedModel['release'] | undefined): Promise<void> {
    return this.#models.inTurn(async () => release?.());
  }

  #held(id: number): Session {
    const held = this.#texts.get(id);
    if (held !== undefined) return held;
    throw new LinnetError('INPUT', `there is no text ${id}; write one first`);
  }

  #factsOf(id: number): TextFacts {
    const { text, tokens, bytes } = this.#held(id);
    return { text, length: tokens.length, stateBytes: bytes };
  }
}

/** Answers requests with the files of a dropped folder. */
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
