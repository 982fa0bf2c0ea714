/** Typed access to a GGUF file's metadata, under its architecture's prefix. */
import { LinnetError } from '../../errors.ts';
import { listNames, shownValue } from '../../files/name-list.ts';
import type { GgufHeader, ListedTensor, MetadataValue } from './header.ts';
import { refusal } from './refusal.ts';

const mostLayers = 4096;

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isFlag(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

/** A finite number. */
export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value);
}

/**
 * Metadata keys with a common prefix. Methods throw LinnetError `FORMAT` for values of another type, and for absent ones
 * without a fallback.
 */
export class MetadataPart {
  readonly source: string;
  readonly #values: GgufHeader['metadata'];
  readonly #prefix: string;
  readonly #asked = new Set<string>();

  constructor(values: GgufHeader['metadata'], source: string, prefix: string) {
    this.#values = values;
    this.source = source;
    this.#prefix = prefix;
  }

  get(name: string): MetadataValue | undefined {
    this.#asked.add(name);
    return this.#values.get(this.#prefix + name);
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  text(name: string, fallback?: string): string {
    return this.read(name, 'a text', isText, fallback);
  }

  flag(name: string, fallback: boolean): boolean {
    return this.read(name, 'true or false', isFlag, fallback);
  }

  number(name: string, fallback?: number): number {
    return this.read(name, 'a number', isNumber, fallback);
  }

  read<T extends MetadataValue>(
    name: string,
    expected: string,
    isOne: (value: unknown) => value is T,
    fallback?: T,
  ): T {
    const value = this.get(name) ?? fallback;
    if (isOne(value)) return value;
    throw this.unusable(name, value, expected);
  }

  unusable(name: string, value: unknown, expected: string): LinnetError {
    const stored = value === undefined ? 'missing' : shownValue(value);
    return new LinnetError(
      'FORMAT',
      `${this.source}: the metadata ${this.#prefix}${name} is ${stored}, expected ${expected}`,
    );
  }

  /**
   * Refuses unread keys, which may change the computation; a value that switches something off passes.
   * @throws LinnetError `CONFIG` naming the keys
   */
  refuseOthers(harmless: readonly string[]): void {
    const others = [...this.#values].filter(([key, value]) => {
      const name = key.slice(this.#prefix.length);
      const isOff = value === 0 || value === false || value === '';
      const isHarmless = harmless.some((one) => (one.endsWith('.') ? name.startsWith(one) : name === one));
      return key.startsWith(this.#prefix) && !isOff && !this.#asked.has(name) && !isHarmless;
    });
    if (others.length === 0) return;
    const names = listNames(others.map(([key]) => key));
    throw refusal(
      this.source,
      `has metadata that Linnet does not understand and that may change the computation: ${names}`,
    );
  }
}

/** The metadata of a file's architecture: "block_count" reads "llama.block_count". */
export class Metadata extends MetadataPart {
  readonly architecture: string;
  readonly tensors: ReadonlyMap<string, ListedTensor>;
  /** Ids of tokens that end a turn. */
  readonly turnEnds: readonly number[];
  /** Divisors of every feature pair's angle; empty for none. */
  readonly ropeFactors: readonly number[];
  readonly #tokenizer: MetadataPart;

  constructor({ found, metadata, tensors }: GgufHeader, source: string, ropeFactors: readonly number[] = []) {
    const architecture = new MetadataPart(metadata, source, 'general.').text('architecture');
    super(metadata, source, `${architecture}.`);
    this.architecture = architecture;
    this.tensors = tensors;
    this.turnEnds = found;
    this.ropeFactors = ropeFactors;
    this.#tokenizer = new MetadataPart(metadata, source, 'tokenizer.ggml.');
  }

  /** An optional number. */
  numberIf(name: string): number | undefined {
    return this.has(name) ? this.number(name) : undefined;
  }

  /** A table's row count; undefined if the file lacks the table. */
  rowsOf(table: string): number | undefined {
    return this.tensors.get(`${table}.weight`)?.shape[0];
  }

  /** Layers that draft; Qwen3.5's files put them after the others. */
  get draftLayers(): number {
    return this.#count('nextn_predict_layers', 0, this.#count('block_count', 1) - 1, 0);
  }

  /** Layer count, without those that draft. @throws LinnetError `FORMAT` for an impossible one */
  get layers(): number {
    return this.#count('block_count', 1) - this.draftLayers;
  }

  #count(name: string, least: number, most = mostLayers, fallback?: number): number {
    const count = this.number(name, fallback);
    if (Number.isInteger(count) && count >= least && count <= most) return count;
    throw this.unusable(name, count, `a number of layers from ${least} to ${most}`);
  }

  /** One number per layer; a single number applies to all. */
  layered(name: string, fallback?: number): readonly number[] {
    const { layers } = this;
    const value = this.get(name) ?? fallback;
    if (isNumber(value)) return Array.from({ length: layers }, () => value);
    if (Array.isArray(value) && value.length >= layers && value.every(isNumber)) return value.slice(0, layers);
    throw this.unusable(name, value, `a number, or one for each of ${layers} layers`);
  }

  /** A token id by its role in the tokenizer. */
  token(role: string): number | undefined {
    const value = this.#tokenizer.get(`${role}_token_id`);
    return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
  }
}
