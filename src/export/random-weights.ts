/**
 * Random weights, made at disk speed: for measurements at sizes without a checkpoint at hand. Their mean is zero: otherwise all
 * rows would point one way, and softmax weights of such scores are denormal numbers, which take the processor ten times as long.
 */
import { LinnetError } from '../errors.ts';
import { type DType, elementCount, type Tensor, tensor, type Weights } from '../graph/tensor.ts';
import { freshMixerParameters } from '../models/linearization/linearize.ts';
import type { ModelDescription } from '../models/model.ts';
import { type DeclaredParameter, consequencesOf } from '../nn/parameters.ts';
import type { WeightReader } from '../quantization/weight-reader.ts';

/** Requested type and shape of a stored matrix's part. */
interface PartType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Standard deviation of the integers 0 … n − 1, equally likely. */
function spread(n: number): number {
  return Math.sqrt((n * n - 1) / 12);
}

/** Makers of a part's elements, by its name's last word. `deviation` is the weights' standard deviation. */
const partMakers: Readonly<
  Record<string, (type: PartType, bits: (bytes: number) => ArrayBuffer, deviation: number) => Tensor | undefined>
> = {
  // Without the code that has no opposite: −8, which is 0 of 16, and −128.
  codes({ dtype, shape }, bits) {
    const count = elementCount(shape);
    if (dtype === 'uint8') {
      const pairs = new Uint8Array(bits(count), 0, count);
      for (let i = 0; i < count; i++) pairs[i] |= ((pairs[i] & 15) === 0 ? 8 : 0) | (pairs[i] < 16 ? 128 : 0);
      return tensor('uint8', shape, pairs);
    }
    const codes = new Int8Array(bits(count), 0, count);
    for (let i = 0; i < count; i++) if (codes[i] === -128) codes[i] = -127;
    return tensor('int8', shape, codes);
  },
  // Four-bit blocks have scales [outputs, blocks], eight bits have [outputs].
  scales({ shape }, _bits, deviation) {
    const values = new Float32Array(elementCount(shape)).fill(deviation / spread(shape.length === 1 ? 255 : 15));
    return tensor('float32', shape, values);
  },
  // Random sign and fraction under one exponent: magnitudes between 2ᵉ and 2ᵉ⁺¹, with RMS 1.53·2ᵉ.
  halves({ shape }, bits, deviation) {
    const count = elementCount(shape);
    const halves = new Uint16Array(bits(2 * count), 0, count);
    const exponent = (exponentOf(deviation) + 15) << 10;
    for (let i = 0; i < count; i++) halves[i] = (halves[i] & 0x83ff) | exponent;
    return tensor('float16', shape, halves);
  },
};

/** The e for which magnitudes between 2ᵉ and 2ᵉ⁺¹ have about this deviation. */
function exponentOf(deviation: number): number {
  return Math.round(Math.log2(deviation / Math.sqrt(7 / 3)));
}

/**
 * A model's random weights, by name; equal seeds give equal weights in any order of reading. Matrices have standard deviation
 * about 1 / √(last dimension); gains are 1, biases 0; mixers' parameters start as in a fresh mixer, random instead of zero,
 * so that every branch takes part.
 */
export class RandomWeights implements WeightReader {
  readonly #model: ModelDescription;
  readonly #seed: number;
  readonly #fresh: Weights;

  /** @param seed any integer; its low 32 bits count */
  constructor(model: ModelDescription, seed: number) {
    this.#model = model;
    this.#seed = seed;
    this.#fresh = freshMixerParameters(model);
  }

  /** @throws LinnetError `TENSOR` for a name that is not a parameter of the model */
  async read(name: string): Promise<Tensor<'float32'>> {
    const { shape, role } = this.#declared(name);
    const fresh = this.#fresh.get(name);
    if (fresh?.data.some((value) => value !== 0) === true) return fresh;
    const start = consequencesOf(role).fresh;
    const count = elementCount(shape);
    if (start === 'zeros') return tensor('float32', shape, new Float32Array(count));
    if (start === 'ones') return tensor('float32', shape, new Float32Array(count).fill(1));
    const bits = new Uint32Array(randomBits(seedOf(name, this.#seed), 4 * count), 0, count);
    const exponent = (exponentOf(this.#deviation(shape)) + 127) << 23;
    for (let i = 0; i < count; i++) bits[i] = (bits[i] & 0x807fffff) | exponent;
    return tensor('float32', shape, new Float32Array(bits.buffer, 0, count));
  }

  part(name: string, type: PartType): Promise<Tensor> | undefined {
    const end = name.lastIndexOf('.');
    const [matrix, part] = [name.slice(0, end), name.slice(end + 1)];
    if (!Object.hasOwn(partMakers, part)) return undefined;
    const deviation = this.#deviation(this.#declared(matrix).shape);
    const made = partMakers[part](type, (bytes) => randomBits(seedOf(name, this.#seed), bytes), deviation);
    return made && Promise.resolve(made);
  }

  #deviation(shape: readonly number[]): number {
    return 1 / Math.sqrt(Math.max(64, shape.at(-1) ?? 1));
  }

  #declared(name: string): DeclaredParameter {
    const parameter = this.#model.parameters.get(name);
    if (parameter === undefined) throw new LinnetError('TENSOR', `the model has no parameter "${name}"`);
    return parameter;
  }
}

/** FNV-1a over the name, starting from the seed. */
function seedOf(name: string, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/** At least `bytes` random bytes, by Marsaglia's xorshift32: about a gigabyte per second. */
function randomBits(seed: number, bytes: number): ArrayBuffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let x = seed === 0 ? 1 : seed;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return words.buffer;
}
