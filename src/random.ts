/**
 * Seeded random numbers. One small generator for everything that must repeat exactly: initialization, shuffling, sampling. The
 * state is four 32-bit words, so it can be stored in a checkpoint and restored.
 *
 * Algorithm: xoshiro128** (Blackman and Vigna, public domain), seeded by splitmix32.
 */

/** A generator's four words, as stored in snapshots and session files. */
export type RandomState = readonly [number, number, number, number];

/** A seeded generator. Equal seeds give equal sequences on every platform. */
export class Random {
  #state: [number, number, number, number] = [0, 0, 0, 0];

  /** @param seed any integer; only its low 32 bits count. @throws RangeError for anything but a number */
  constructor(seed: number) {
    if (typeof seed !== 'number') throw new RangeError('the seed of random numbers is not a number');
    let word = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      word = (word + 0x9e3779b9) >>> 0;
      let z = word;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.#state[i] = (z ^ (z >>> 15)) >>> 0;
    }
  }

  /** Continues from a state taken with `state`. @throws RangeError for an invalid state */
  static fromState(state: RandomState): Random {
    const isState = Array.isArray(state) && state.length === 4 && state.every((word) => typeof word === 'number');
    if (!isState) throw new RangeError('the state of random numbers is a list of four numbers');
    const random = new Random(0);
    random.#state = [state[0] >>> 0, state[1] >>> 0, state[2] >>> 0, state[3] >>> 0];
    return random;
  }

  /** The current state, a copy. */
  get state(): RandomState {
    const [a, b, c, d] = this.#state;
    return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
  }

  /** A uniform 32-bit unsigned integer. */
  nextUint32(): number {
    const s = this.#state;
    const times5 = Math.imul(s[1], 5);
    const result = Math.imul((times5 << 7) | (times5 >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** Uniform in [0, 1), 53 bits. */
  uniform(): number {
    const high = this.nextUint32() >>> 5;
    const low = this.nextUint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform integer in [0, bound), without modulo bias. @throws RangeError unless `bound` is an integer of 1…2³² */
  integer(bound: number): number {
    if (!(Number.isInteger(bound) && bound >= 1 && bound <= 4294967296)) {
      const given = typeof bound === 'number' ? bound : typeof bound;
      throw new RangeError(`a random integer below ${given} was asked for; expected an integer of 1 to 2^32`);
    }
    const limit = 4294967296 - (4294967296 % bound);
    for (;;) {
      const value = this.nextUint32();
      if (value < limit) return value % bound;
    }
  }

  /** Uniform integers in [0, bound). @throws RangeError like `integer` */
  integers(length: number, bound: number): Int32Array {
    return Int32Array.from({ length }, () => this.integer(bound));
  }

  /** Standard normal, by the Box–Muller transform. Draws two uniforms per call and keeps none, so that `state` is everything. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Standard normals. */
  normals(length: number): Float32Array {
    return Float32Array.from({ length }, () => this.normal());
  }

  /** Shuffles in place (Fisher–Yates). */
  shuffle<T>(items: T[]): T[] {
    if (!Array.isArray(items)) throw new RangeError('random: the items to shuffle are not a list');
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const swapped = items[i];
      items[i] = items[j];
      items[j] = swapped;
    }
    return items;
  }
}
