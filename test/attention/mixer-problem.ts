/** Random numbers for one mixer, mixed by its reference and by a graph with gradients, for tests of every form. */
import type { MixerConfig, MixerParameterValues, ProjectedPositions } from '../../src/attention/mixer.ts';
import {
  mixBidirectional,
  mixerDims,
  mixerParameters,
  mixParallel,
  mixReference,
  rowWidth,
} from '../../src/attention/mixers.ts';
import type { ReferenceInput } from '../../src/attention/reference.ts';
import { handDerived, type ReferenceGradients } from './linear-gradients.ts';
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { Graph, type Value } from '../../src/graph/graph.ts';
import { dataOf, float32 } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile, type Program } from '../../src/runtime/compile.ts';

/** Width of queries and keys of one branch, and of values. */
const [S, widthOfValues] = [6, 5];

export interface ProblemHeads {
  readonly heads: number;
  readonly keyValueHeads: number;
}

/** What a problem is like. */
export interface ProblemOptions extends ProblemHeads {
  /** `causal`: each position reads its past. `whole`: texts with padding, of which every position reads all tokens. */
  readonly reads: 'causal' | 'whole';
  /** Positions of queries, in cross attention; default as of keys. */
  readonly queries?: number;
}

/** One problem: two texts that share their parameters. Rows are [heads,n,width], as references read them. */
export interface Problem {
  readonly config: MixerConfig;
  readonly heads: ProblemHeads;
  /** D: width of a row of queries or keys. */
  readonly D: number;
  readonly E: number;
  /** Positions of queries. */
  readonly m: number;
  /** Positions of keys. */
  readonly n: number;
  readonly q: readonly Float64Array[];
  readonly k: readonly Float64Array[];
  readonly v: readonly Float64Array[];
  /** Undefined for a causal problem. */
  readonly masks: readonly Float64Array[] | undefined;
  readonly parameters: ReadonlyMap<string, Float64Array>;
}

const batch = [0, 1] as const;

/** Numbers of float32 precision, the same for the same sizes. */
export function drawProblem(config: MixerConfig, n: number, options: ProblemOptions): Problem {
  const { reads, queries: m = n } = options;
  const given = { ...options, headWidth: S, valueWidth: widthOfValues, width: options.heads * S };
  const { heads: H, keyValueHeads: M, headWidth, valueWidth: E = headWidth } = mixerDims(config, given);
  const D = rowWidth(config, headWidth);
  const random = new Random(31 * n + m);
  const normals = (count: number, size = 1): Float64Array =>
    Float64Array.from({ length: count }, () => Math.fround(size * random.normal()));
  const shapes = mixerParameters(config, { heads: H, keyValueHeads: M, headWidth: D, valueWidth: E });
  return {
    ...{ config, heads: { heads: H, keyValueHeads: M }, D, E, m, n },
    q: batch.map(() => normals(H * m * D)),
    k: batch.map(() => normals(M * n * D)),
    v: batch.map(() => normals(M * n * E)),
    // Unequal lengths: padding behind the one text; before, within and behind the other.
    masks:
      reads === 'causal'
        ? undefined
        : [
            Float64Array.from({ length: n }, (_, at) => (at < Math.ceil(0.8 * n) ? 1 : 0)),
            Float64Array.from({ length: n }, (_, at) => (n === 1 || (at > 1 && at % 5 !== 0 && at < n - 2) ? 1 : 0)),
          ],
    parameters: new Map(
      shapes.map(({ name, shape }) => [
        name,
        normals(
          shape.reduce((a, b) => a * b, 1),
          0.4,
        ),
      ]),
    ),
  };
}

/** Text `b` of the batch as the reference reads it. */
export function referenceInput(
  { heads, D, E: valueWidth, m, n, q, k, v, masks, parameters }: Problem,
  b: number,
): ReferenceInput {
  return {
    dims: { ...heads, length: m, headWidth: D, valueWidth, keyLength: n },
    ...{ q: q[b], k: k[b], v: v[b], keyMask: masks?.[b], parameters: Object.fromEntries(parameters) },
  };
}

/** [B] of [heads,n,width] → [B,n,heads,width]. */
export function interleave(parts: readonly ArrayLike<number>[], heads: number, width: number): Float64Array {
  const n = parts[0].length / heads / width;
  return Float64Array.from({ length: parts.length * heads * n * width }, (_, at) => {
    const [b, t, h, i] = [
      Math.floor(at / (n * heads * width)),
      Math.floor(at / (heads * width)) % n,
      Math.floor(at / width) % heads,
      at % width,
    ];
    return parts[b][(h * n + t) * width + i];
  });
}

/** [B,n,heads,width] → [B] of [heads,n,width]. */
export function separate(rows: Float64Array, heads: number, width: number): Float64Array[] {
  const n = rows.length / 2 / heads / width;
  return batch.map((b) =>
    Float64Array.from({ length: heads * n * width }, (_, at) => {
      const [h, t, i] = [Math.floor(at / (n * width)), Math.floor(at / width) % n, at % width];
      return rows[((b * n + t) * heads + h) * width + i];
    }),
  );
}

/** The outputs of the reference: [B,m,H,E]. */
export function referenceOutput(problem: Problem): Float64Array {
  const outputs = batch.map((b) => mixReference(problem.config, referenceInput(problem, b)));
  return interleave(outputs, problem.heads.heads, problem.E);
}

/** The gradients of the reference that were derived by hand, by name, as the graph has them; undefined without such. */
export function handDerivedGradients(problem: Problem, dout: Float64Array): Record<string, Float64Array> | undefined {
  const { config, heads, D, E: width } = problem;
  const parts = separate(dout, heads.heads, width);
  const own: ReferenceGradients[] = [];
  for (const b of batch) {
    const gradients = handDerived(config, referenceInput(problem, b), parts[b]);
    if (gradients === undefined) return undefined;
    own.push(gradients);
  }
  return {
    dq: interleave(
      own.map(({ q }) => q),
      heads.heads,
      D,
    ),
    dk: interleave(
      own.map(({ k }) => k),
      heads.keyValueHeads,
      D,
    ),
    dv: interleave(
      own.map(({ v }) => v),
      heads.keyValueHeads,
      width,
    ),
    ...Object.fromEntries(
      [...problem.parameters.keys()].map((name) => [
        `d${name}`,
        own[0].parameters[name].map((x, i) => x + own[1].parameters[name][i]),
      ]),
    ),
  };
}

type Mix = (positions: ProjectedPositions, parameters: MixerParameterValues, mask: Value | undefined) => Value;
type Results = (name: string) => Float32Array;

/** Shapes of the inputs of a problem's graph, by name. */
function inputShapes({ config, heads, D, E: width, m, n }: Problem): Record<string, number[]> {
  const [B, { heads: H, keyValueHeads: M }] = [batch.length, heads];
  const parameters = mixerParameters(config, { ...heads, headWidth: D, valueWidth: width });
  return {
    q: [B, m, H, D],
    k: [B, n, M, D],
    v: [B, n, M, width],
    ...Object.fromEntries(parameters.map(({ name, shape }) => [name, [...shape]])),
  };
}

/** Output and gradients of the mixer of a problem. */
async function compileProblem(problem: Problem): Promise<Program> {
  const { config, heads, E: width, m, n, masks } = problem;
  const B = batch.length;
  const graph = new Graph('mixer');
  const shapes = inputShapes(problem);
  const names = Object.keys(shapes);
  const values: Record<string, Value> = Object.fromEntries(
    names.map((name) => [name, graph.input(name, 'float32', shapes[name])]),
  );
  const mix: Mix = (positions, own, mask) =>
    mask === undefined ? mixParallel(config, positions, own) : mixBidirectional(config, positions, mask, own);
  const mask = masks && graph.input('mask', 'float32', [B, n]);
  const { q, k, v, ...parameters } = values;
  const out = mix({ q, k, v }, parameters, mask);
  const upstream = graph.input('dout', 'float32', [B, m, heads.heads, width]);
  graph.output('out', out);
  vectorJacobian([out], [upstream], Object.values(values)).forEach((gradient, i) => {
    graph.output(`d${names[i]}`, gradient);
  });
  return await compile(graph);
}

async function runProblem(program: Program, problem: Problem, dout: Float64Array): Promise<Results> {
  const { heads, D, E: width, m, n, masks } = problem;
  const { heads: H, keyValueHeads: M } = heads;
  const B = batch.length;
  const data: Record<string, Float64Array> = {
    q: interleave(problem.q, H, D),
    k: interleave(problem.k, M, D),
    v: interleave(problem.v, M, width),
    ...Object.fromEntries(problem.parameters),
  };
  const shapes = inputShapes(problem);
  const names = Object.keys(shapes);
  const feeds = {
    ...Object.fromEntries(names.map((name) => [name, float32(shapes[name], data[name])])),
    ...(masks && { mask: float32([B, n], interleave(masks, 1, 1)) }),
    dout: float32([B, m, H, width], dout),
  };
  const given = Object.fromEntries(Object.entries(feeds).filter(([name]) => program.inputs.has(name)));
  const results = await program.run(given, ['out', ...names.map((name) => `d${name}`)]);
  return (name) => dataOf(results[name], 'float32');
}

/** Output and gradients of the graph, by name; `dout` is [B,m,H,E]. */
export async function runGraph(problem: Problem, dout: Float64Array): Promise<Results> {
  await using program = await compileProblem(problem);
  return await runProblem(program, problem, dout);
}

/** The graphs of one mixer, each compiled once for all problems of its sizes. */
export class ProblemGraphs {
  readonly #programs = new Map<string, Promise<Program>>();

  /** As `runGraph`. */
  async run(problem: Problem, dout: Float64Array): Promise<Results> {
    const { config, heads, D, m, n, masks } = problem;
    const key = JSON.stringify([config, heads, D, m, n, masks !== undefined]);
    const program = this.#programs.get(key) ?? compileProblem(problem);
    this.#programs.set(key, program);
    return await runProblem(await program, problem, dout);
  }

  async dispose(): Promise<void> {
    for (const program of this.#programs.values()) await (await program).dispose();
    this.#programs.clear();
  }
}

/** Normal numbers. */
export function randomLike(values: ArrayLike<number>, seed: number): Float64Array {
  const random = new Random(seed);
  return Float64Array.from(values, () => Math.fround(random.normal()));
}

/** What a problem becomes when one of its arrays is moved along a direction, which is laid out as the graph has it. */
function moved(problem: Problem, name: string, direction: Float64Array, size: number): Problem {
  const { heads, keyValueHeads } = problem.heads;
  const rows = {
    q: { count: heads, width: problem.D },
    k: { count: keyValueHeads, width: problem.D },
    v: { count: keyValueHeads, width: problem.E },
  };
  if (name === 'q' || name === 'k' || name === 'v') {
    const parts = separate(direction, rows[name].count, rows[name].width);
    return { ...problem, [name]: problem[name].map((part, b) => part.map((x, i) => x + size * parts[b][i])) };
  }
  const parameters = new Map(problem.parameters);
  const own = parameters.get(name) ?? new Float64Array(0);
  parameters.set(
    name,
    own.map((x, i) => x + size * direction[i]),
  );
  return { ...problem, parameters };
}

/** Largest error of directional derivatives of Σ out·dout against central differences of the reference. */
export function differenceError(problem: Problem, dout: Float64Array, name: string, gradient: Float32Array): number {
  const loss = (direction: Float64Array, size: number): number =>
    inner(referenceOutput(moved(problem, name, direction, size)), dout);
  const step = 1e-5;
  let worst = 0;
  for (const seed of [1, 2, 3]) {
    const direction = randomLike(gradient, seed);
    const difference = (loss(direction, step) - loss(direction, -step)) / (2 * step);
    worst = Math.max(worst, Math.abs(difference - inner(gradient, direction)));
  }
  return worst / (0.05 + Math.sqrt(inner(gradient, gradient)));
}

function inner(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}
