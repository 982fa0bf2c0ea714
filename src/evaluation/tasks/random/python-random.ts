/**
 * The random numbers of CPython's `random.Random`, which drew the few-shot choices and bootstrap resamples of published
 * results. The generator is MT19937 (Matsumoto and Nishimura, 1998), with 53-bit fractions as in their reference.
 */
import { range } from 'd3-array';
import { LinnetError } from '../../../errors.ts';

/** Words of the generator's state, and the offset of the word that each is mixed with. */
const size = 624;
const offset = 397;

/** A generator with CPython's numbers for the same seed. */
export class PythonRandom {
  readonly #words = new Uint32Array(size);
  #next = size;

  /**
   * @param seed a whole number; as in Python its sign does not count
   * @throws LinnetError `INPUT` unless it is an exact whole number
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed)) throw new LinnetError('INPUT', `a seed is a whole number, got ${seed}`);
    const magnitude = Math.abs(seed);
    const high = Math.floor(magnitude / 2 ** 32);
    this.#initialize(high === 0 ? [magnitude] : [magnitude >>> 0, high]);
  }

  nextUint32(): number {
    if (this.#next === size) this.#refill();
    let word = this.#words[this.#next++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  /** `random()`: uniform in [0, 1), 53 bits. */
  random(): number {
    const high = this.nextUint32() >>> 5;
    const low = this.nextUint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** `randrange(bound)`, by rejection. @param bound from 1 to 2³² − 1 */
  below(bound: number): number {
    const bits = 32 - Math.clz32(bound);
    for (;;) {
      const value = this.nextUint32() >>> (32 - bits);
      if (value < bound) return value;
    }
  }

  /**
   * `sample(range(n), k)`: k different indices below n. Python keeps a pool for small n and a set of drawn indices for large
   * n; the result depends on which.
   * @throws LinnetError `INPUT` if k is more than n
   */
  sampleIndices(n: number, k: number): number[] {
    if (k > n) throw new LinnetError('INPUT', `${k} samples cannot be drawn from ${n} items without repetition`);
    const setSize = 21 + (k > 5 ? 4 ** Math.ceil(Math.log(k * 3) / Math.log(4)) : 0);
    if (n <= setSize) {
      const pool = range(n);
      return Array.from({ length: k }, (_, taken) => {
        const drawn = this.below(n - taken);
        const value = pool[drawn];
        pool[drawn] = pool[n - taken - 1];
        return value;
      });
    }
    const drawn = new Set<number>();
    while (drawn.size < k) drawn.add(this.below(n));
    return [...drawn];
  }

  /** An index of `choices(range(n))`: ⌊random()·n⌋. */
  choiceIndex(n: number): number {
    return Math.floor(this.random() * n);
  }

  /** `init_by_array` of the reference. */
  #initialize(key: readonly number[]): void {
    const words = this.#words;
    words[0] = 19650218;
    for (let i = 1; i < size; i++) words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i;
    let i = 1;
    let j = 0;
    const step = (factor: number, added: number): void => {
      words[i] = (words[i] ^ Math.imul(words[i - 1] ^ (words[i - 1] >>> 30), factor)) + added;
      i++;
      if (i < size) return;
      words[0] = words[size - 1];
      i = 1;
    };
    for (let count = Math.max(size, key.length); count > 0; count--) {
      step(1664525, key[j] + j);
      j = (j + 1) % key.length;
    }
    for (let count = size - 1; count > 0; count--) step(1566083941, -i);
    words[0] = 0x80000000;
  }

  #refill(): void {
    const words = this.#words;
    for (let i = 0; i < size; i++) {
      const mixed = (words[i] & 0x80000000) | (words[(i + 1) % size] & 0x7fffffff);
      words[i] = words[(i + offset) % size] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.#next = 0;
  }
}
