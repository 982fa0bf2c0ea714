/** Typed access to the metadata of a GGUF file, under the prefix of its architecture. */
import { LinnetError } from '../../errors.ts';
import { listNames, shownValue } from '../../files/name-list.ts';
import type { GgufHeader, ListedTensor, MetadataValue } from './header.ts';

const mostLayers = 4096;

/** Metadata, and the names of keys that were asked for. */
export class Metadata {
  readonly source: string;
  readonly architecture: string;
  readonly tensors: ReadonlyMap<string, ListedTensor>;
  /** Ids of tokens whose texts end a turn. */
  readonly turnEnds: readonly number[];
  /** By which the angles of every pair of features are divided; empty: by nothing. */
  readonly ropeFactors: readonly number[];
  readonly #values: GgufHeader['metadata'];
  readonly #asked = new Set<string>();

  /** @throws LinnetError `FORMAT` without an architecture */
  constructor({ found, metadata, tensors }: GgufHeader, source: string, ropeFactors: readonly number[] = []) {
    this.source = source;
    this.tensors = tensors;
    this.turnEnds = found;
    this.ropeFactors = ropeFactors;
    this.#values = metadata;
    this.architecture = this.text('general.architecture');
  }

  /** @throws LinnetError `FORMAT` where it is absent and there is no fallback, or is not a text */
  text(key: string, fallback?: string): string {
    const value = this.#of(key) ?? fallback;
    if (typeof value === 'string') return value;
    throw this.#unusable(key, value, 'a text');
  }

  /** A number of the architecture: "block_count" is "llama.block_count". @throws LinnetError as `text` */
  number(name: string, fallback?: number): number {
    const key = `${this.architecture}.${name}`;
    const value = this.#of(key) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.#unusable(key, value, 'a number');
  }

  /** A number that may be absent. */
  numberIf(name: string): number | undefined {
    return this.has(name) ? this.number(name) : undefined;
  }

  /** The number of layers. @throws LinnetError `FORMAT` for one that no model has */
  get layers(): number {
    const layers = this.number('block_count');
    if (Number.isInteger(layers) && layers >= 1 && layers <= mostLayers) return layers;
    throw this.#unusable(`${this.architecture}.block_count`, layers, `a number of layers from 1 to ${mostLayers}`);
  }

  has(name: string): boolean {
    return this.#of(`${this.architecture}.${name}`) !== undefined;
  }

  /** A number of every layer; the same for all where one is given. @throws LinnetError as `text` */
  layered(name: string, layers: number, fallback?: number): readonly number[] {
    const key = `${this.architecture}.${name}`;
    const value = this.#of(key) ?? fallback;
    if (Array.isArray(value) && value.length >= layers && value.every((one) => typeof one === 'number')) {
      return value.slice(0, layers);
    }
    if (typeof value === 'number') return Array.from({ length: layers }, () => value);
    throw this.#unusable(key, value, `a number, or one for each of ${layers} layers`);
  }

  flag(name: string, fallback: boolean): boolean {
    const key = `${this.architecture}.${name}`;
    const value = this.#of(key) ?? fallback;
    if (typeof value === 'boolean') return value;
    throw this.#unusable(key, value, 'true or false');
  }

  /** A text of the architecture. */
  word(name: string, fallback: string): string {
    return this.text(`${this.architecture}.${name}`, fallback);
  }

  /** A token id of the tokenizer, by its role. */
  token(role: string): number | undefined {
    const value = this.#values.get(`tokenizer.ggml.${role}_token_id`);
    return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
  }

  /**
   * Refuses what nobody asked for: a key of the architecture may change the computation. One that switches something off does not.
   * @throws LinnetError `CONFIG` naming the keys
   */
  refuseOthers(harmless: readonly string[]): void {
    const prefix = `${this.architecture}.`;
    const others = [...this.#values].filter(([key, value]) => {
      const isOff = value === 0 || value === false || value === '';
      return key.startsWith(prefix) && !isOff && !this.#asked.has(key) && !harmless.includes(key.slice(prefix.length));
    });
    if (others.length === 0) return;
    const names = listNames(others.map(([key]) => key));
    throw new LinnetError(
      'CONFIG',
      `${this.source} has metadata that Linnet does not understand and that may change the computation: ${names}; ` +
        'take the model as safetensors, with its config.json',
    );
  }

  #of(key: string): MetadataValue | undefined {
    this.#asked.add(key);
    return this.#values.get(key);
  }

  #unusable(key: string, value: unknown, expected: string): LinnetError {
    const given = value === undefined ? 'missing' : shownValue(value);
    return new LinnetError('FORMAT', `${this.source}: the metadata ${key} is ${given}, expected ${expected}`);
  }
}
