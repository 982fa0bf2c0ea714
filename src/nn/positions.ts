/**
 * A backbone's position encoding. A family states which values it reads; they are constants in the graph over whole
 * sequences and inputs of the step graph, where every node has its own position.
 */
import { LinnetError } from '../errors.ts';
import { declareInputs, type Graph, type Value } from '../graph/graph.ts';
import { type DType, type Tensor, tensor } from '../graph/tensor.ts';

/** A positional value's element type, and its shape after the axes [B,T]. */
export interface PositionValueType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A graph's positional values by name, each [B,T,...]. */
export type PositionValues = Readonly<Record<string, Value>>;

/** How positions reach a backbone. */
export interface PositionEncoding {
  /** The values that the backbone reads, by step-graph input name. */
  readonly values: Readonly<Record<string, PositionValueType>>;
  /** Positions from this one on have no encoding; Infinity for no limit. */
  readonly limit: number;
  /**
   * The values for given positions, each [batch,length,...].
   *
   * @param positions batch·length positions in row-major order
   * @throws LinnetError `INPUT` for a position at the limit or beyond
   */
  at(positions: ArrayLike<number>, batch: number, length: number): Record<string, Tensor>;
}

/** For backbones without positions. */
export const noPositions: PositionEncoding = { values: {}, limit: Number.POSITIVE_INFINITY, at: () => ({}) };

/** Positions as rows of a learned table: the value `positions`, int32 [B,T]. @param limit the table's rows */
export function learnedPositions(limit: number): PositionEncoding {
  return {
    values: { positions: { dtype: 'int32', shape: [] } },
    limit,
    at(positions, batch, length) {
      const indices = Int32Array.from({ length: batch * length }, (_, i) => positions[i]);
      const beyond = indices.find((position) => position >= limit);
      if (beyond === undefined) return { positions: tensor('int32', [batch, length], indices) };
      throw new LinnetError(
        'INPUT',
        `position ${beyond} is beyond the model's learned positions 0 to ${limit - 1}; ` +
          `give at most ${limit} tokens, prompt and continuation together`,
      );
    },
  };
}

/** Several encodings as one: the first one's values under their names, number i's as `NAME.i`. */
export function mergedPositions(parts: readonly PositionEncoding[]): PositionEncoding {
  if (parts.length === 1) return parts[0];
  return {
    values: numbered(parts.map(({ values }) => values)),
    limit: Math.min(...parts.map(({ limit }) => limit)),
    at: (positions, batch, length) => numbered(parts.map((part) => part.at(positions, batch, length))),
  };
}

function numbered<Entry>(parts: readonly Readonly<Record<string, Entry>>[]): Record<string, Entry> {
  const entries = parts.flatMap((part, i) =>
    Object.entries(part).map(([name, entry]): [string, Entry] => [i === 0 ? name : `${name}.${i}`, entry]),
  );
  return Object.fromEntries(entries);
}

/** The values of `mergedPositions`' encoding `index`, under its own names. */
export function partOf(values: PositionValues, index: number): PositionValues {
  const named = Object.entries(values).map(([name, value]) => ({ parts: name.split('.'), value }));
  const own = named.filter(({ parts: [, part = 0] }) => Number(part) === index);
  return Object.fromEntries(own.map(({ parts: [name], value }) => [name, value]));
}

/** Declares an encoding's values as graph inputs [B,T,...] with named dimensions. */
export function declarePositions(encoding: PositionEncoding, graph: Graph, nodes = 'T'): PositionValues {
  return declareInputs(graph, encoding.values, ['B', nodes]);
}

/** How positions beyond the trained length are mapped. */
export type RotaryScaling =
  /** Divides positions by a factor (position interpolation, as in LongLoRA). */
  | { readonly type: 'linear'; readonly factor: number }
  /** Divides low frequencies by a factor, keeps high ones, with a ramp between (LLaMA 3.1). */
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalLength: number;
    }
  /** Divides every frequency by its own factor, multiplies cos and sin by `magnitude` (LongRoPE, arXiv 2402.13753). */
  | { readonly type: 'factors'; readonly factors: readonly number[]; readonly magnitude: number }
  /**
   * Divides frequencies with fewer than `slowTurns` turns in the original length by a factor, keeps those with more than
   * `fastTurns`, with a ramp between; multiplies cos and sin by `magnitude` (YaRN, arXiv 2309.00071).
   */
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalLength: number;
      readonly fastTurns: number;
      readonly slowTurns: number;
      readonly magnitude: number;
    };

export interface RotaryConfig {
  /** D: features per head; pair i rotates by position · base^(−2i/D). */
  readonly width: number;
  /** The frequencies' base, 10000 in LLaMA 2. */
  readonly base: number;
  readonly scaling?: RotaryScaling;
  /**
   * The position at which `farCos` and `farSin` stop rotating: angles for queries that read a text's beginning from any
   * distance, never farther than in training. Default: no such values.
   */
  readonly farthest?: number;
}

/** Frequencies [D/2] in radians per position, rounded to float32 as in the reference implementations. */
export function rotaryFrequencies(config: RotaryConfig): Float64Array {
  const { width, base, scaling } = config;
  if (width % 2 !== 0) throw new LinnetError('CONFIG', `rotary embedding needs an even head width, got ${width}`);
  const frequencies = Float64Array.from({ length: width / 2 }, (_, i) => Math.fround(1 / base ** ((2 * i) / width)));
  if (scaling?.type === 'factors' && scaling.factors.length !== width / 2) {
    throw new LinnetError(
      'CONFIG',
      `rotary scaling has ${scaling.factors.length} factors for ${width / 2} pairs of features`,
    );
  }
  if (scaling?.type === 'factors')
    return frequencies.map((frequency, i) => Math.fround(frequency / scaling.factors[i]));
  if (scaling?.type === 'yarn') return yarnFrequencies(frequencies, width, base, scaling);
  if (scaling?.type !== 'llama3') return frequencies;
  const longest = scaling.originalLength / scaling.lowFrequencyFactor;
  const shortest = scaling.originalLength / scaling.highFrequencyFactor;
  return frequencies.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency;
    if (wavelength < shortest) return frequency;
    if (wavelength > longest) return frequency / scaling.factor;
    const ramp =
      (scaling.originalLength / wavelength - scaling.lowFrequencyFactor) /
      (scaling.highFrequencyFactor - scaling.lowFrequencyFactor);
    return ((1 - ramp) * frequency) / scaling.factor + ramp * frequency;
  });
}

/** YaRN's ramp over feature pairs, from a whole pair to a whole pair. */
function yarnFrequencies(
  frequencies: Float64Array,
  width: number,
  base: number,
  { factor, originalLength, fastTurns, slowTurns }: Extract<RotaryScaling, { type: 'yarn' }>,
): Float64Array {
  const pairOf = (turns: number): number =>
    (width * Math.log(originalLength / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  const first = Math.max(0, Math.floor(pairOf(fastTurns)));
  const last = Math.min(width - 1, Math.ceil(pairOf(slowTurns)));
  return frequencies.map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - first) / Math.max(0.001, last - first)));
    return (ramp * frequency) / factor + (1 - ramp) * frequency;
  });
}

/** Cosines and sines [B,T,D/2] for positions, however far out. */
export function rotaryPositions(config: RotaryConfig): PositionEncoding {
  const frequencies = rotaryFrequencies(config);
  const half = frequencies.length;
  const { scaling, farthest } = config;
  const divisor = scaling?.type === 'linear' ? scaling.factor : 1;
  const magnitude = scaling?.type === 'factors' || scaling?.type === 'yarn' ? scaling.magnitude : 1;
  const tables = [{ cos: 'cos', sin: 'sin', most: Infinity }];
  if (farthest !== undefined) tables.push({ cos: 'farCos', sin: 'farSin', most: farthest });
  const type: PositionValueType = { dtype: 'float32', shape: [half] };
  return {
    values: Object.fromEntries(tables.flatMap(({ cos, sin }) => [cos, sin].map((name) => [name, type]))),
    limit: Number.POSITIVE_INFINITY,
    at(positions, batch, length) {
      const shape = [batch, length, half];
      const values: Record<string, Tensor> = {};
      for (const { cos, sin, most } of tables) {
        const cosines = new Float32Array(batch * length * half);
        const sines = new Float32Array(batch * length * half);
        for (let row = 0; row < batch * length; row++) {
          const position = Math.min(positions[row], most) / divisor;
          for (let i = 0; i < half; i++) {
            const angle = Math.fround(position * frequencies[i]);
            cosines[row * half + i] = magnitude * Math.cos(angle);
            sines[row * half + i] = magnitude * Math.sin(angle);
          }
        }
        values[cos] = tensor('float32', shape, cosines);
        values[sin] = tensor('float32', shape, sines);
      }
      return values;
    },
  };
}
