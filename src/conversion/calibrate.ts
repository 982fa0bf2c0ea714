/**
 * Closed-form initialization: fits every layer's mixer to the teacher's attention output on about a thousand tokens.
 *
 * First it tries candidates for some parameters (β of a memory) and picks each head's with the least squared error. Then it
 * solves for the parameters in which the output is affine (λ, α, the convolution's filter): the output is
 *
 *     out(θ) = out(0) + Σ_i θ_i (out(e_i) − out(0)),
 *
 * so running the layer with each unit vector gives the columns of a least-squares problem, whose solution is the start. A
 * single number serves all heads; [H, …] has a part for each head, and one run gives all heads' columns.
 */
import { calibrationOf, mixerParameters, mixParallel } from '../attention/mixers.ts';
import type { MixerConfig, MixerParameter } from '../attention/mixer.ts';
import { initialParameter } from '../attention/parameter-init.ts';
import type { AnyParameter } from '../checkpoint/stored-parameter.ts';
import { requireRunning, type Stoppable } from '../errors.ts';
import { graphCost } from '../graph/cost.ts';
import { Graph } from '../graph/graph.ts';
import { dataOf, elementCount, float32, type Tensor, type WeightMap } from '../graph/tensor.ts';
import type { CausalModel } from '../models/model.ts';
import { scoringOf } from '../models/graphs/parallel-graph.ts';
import { compile, type CompileOptions } from '../runtime/compile.ts';
import { onlyInputs, type Program } from '../runtime/program.ts';
import { parameterCount } from '../nn/parameters.ts';
import { segmentsCost, type SegmentWeights } from '../runtime/segmented-program.ts';
import type { MemoryForm } from '../training/memory-form.ts';
import { processBytes } from '../training/step-cost.ts';
import { type LayerSample, sampleLayers, samplingGraph } from './layer-samples.ts';
import { normalEquations } from './least-squares.ts';
import type { Weighted } from './stages.ts';

/** Bound on |λ|, |α| and filter weights: larger ones fit noise. */
const largestFactor = 4;

/** Options of `calibrate`. */
export interface CalibrationOptions extends CompileOptions, Stoppable {
  /** Called after every fitted layer. */
  readonly onLayer?: (done: number, total: number) => void;
}

/** One layer's calibration: squared error before and after, relative to a zero output's. */
export interface LayerFit {
  readonly layer: number;
  /** Σ(out − teacher)² / Σ teacher², with the initial values. */
  readonly before: number;
  readonly after: number;
}

/**
 * The student's parameters with its mixers fitted to the teacher; layer by layer if the teacher's are in files.
 * @param texts token ids, all of one length; four of 256 are enough
 * @throws LinnetError like `sampleLayers`; `TENSOR` for a parameter the student lacks
 * @example const { parameters, layers } = await calibrate(teacher, student, texts); for (const { layer, before, after } of
 *   layers) console.log(layer, before, after);
 */
export async function calibrate<P extends AnyParameter>(
  teacher: Weighted<P>,
  student: Weighted<P>,
  texts: readonly Int32Array[],
  { signal, onLayer, ...options }: CalibrationOptions = {},
): Promise<{ parameters: Map<string, P | Tensor<'float32'>>; layers: LayerFit[] }> {
  const { model } = student;
  const differing = model.mixers.flatMap((mixer, layer) =>
    JSON.stringify(mixer) === JSON.stringify(teacher.model.mixers[layer]) ? [] : [layer],
  );
  const sampled = { layers: new Set(differing), signal, ...options };
  const parameters = new Map<string, P | Tensor<'float32'>>(student.parameters);
  const layers: LayerFit[] = [];
  await sampleLayers(teacher.model, teacher.parameters, texts, sampled, async (layer, samples) => {
    requireRunning(signal, `before layer ${layer} was fitted`);
    const fitted = await fitLayer(model, model.mixers[layer], samples, options);
    layers.push({ layer, before: fitted.before, after: fitted.after });
    for (const [name, value] of fitted.parameters) parameters.set(`${model.attentionPrefix(layer)}.${name}`, value);
    onLayer?.(layers.length, differing.length);
  });
  return { parameters, layers };
}

/**
 * The memory that `calibrate` takes, with all parameters in memory and layer by layer.
 * @param texts their number, and tokens in each
 * @param weights the teacher's parameters as they would be read
 */
export function calibrationMemory(
  teacher: CausalModel,
  { count, length }: { readonly count: number; readonly length: number },
  weights: SegmentWeights,
): Record<MemoryForm, number> {
  const graph = samplingGraph(teacher, length, new Set(teacher.mixers.keys()));
  const { peakBytes, outputBytes } = graphCost(graph);
  const { segmentBytes, cutBytes } = segmentsCost(graph, weights);
  const weightBytes = 4 * parameterCount(teacher.parameters);
  return {
    // All layers' samples leave the engine as copies.
    whole: processBytes + weightBytes + peakBytes + count * outputBytes,
    // As do the samples of the layer being fitted and of the next.
    layers: processBytes + segmentBytes + count * (cutBytes + (2 * outputBytes) / teacher.mixers.length),
  };
}

type Values = WeightMap;

async function fitLayer(
  model: CausalModel,
  mixer: MixerConfig,
  samples: readonly LayerSample[],
  options: CompileOptions,
) {
  const declared = mixerParameters(mixer, model.sizes);
  const initial: Values = new Map(
    declared.map(({ name, shape, init }) => [name, float32(shape, initialParameter(init, shape))]),
  );
  await using program = await compile(layerGraph(model, mixer, declared, samples[0]), options);
  const layer = fittedLayer(program, samples, model.sizes.heads);
  const { affine, searched } = calibrationOf(mixer, model.sizes.trainedLength);
  let values = initial;
  const before = await layer.error(values);
  for (const { name, candidates } of searched) values = await layer.search(values, name, candidates);
  const fields = declared.filter(({ name }) => affine.includes(name));
  if (fields.length > 0) {
    const solved = await layer.solve(values, fields);
    if ((await layer.error(solved)) < (await layer.error(values))) values = solved;
  }
  return { parameters: values, before, after: await layer.error(values) };
}

/** A mixer over one text: `q`, `k`, `v` and its parameters → `out` [1,n,H,E]. */
function layerGraph(
  model: CausalModel,
  mixer: MixerConfig,
  declared: readonly MixerParameter[],
  { q, k, v }: LayerSample,
): Graph {
  const graph = new Graph(`layer of ${mixer.kind}`);
  const input = (name: string, shape: readonly number[]) => graph.input(name, 'float32', [...shape]);
  const parameters = Object.fromEntries(declared.map(({ name, shape }) => [name, input(name, shape)]));
  const positions = { q: input('q', q.shape), k: input('k', k.shape), v: input('v', v.shape) };
  graph.output('out', mixParallel(mixer, positions, parameters, scoringOf(model)));
  return graph;
}

/** A compiled layer against its teacher's samples. */
function fittedLayer(program: Program, samples: readonly LayerSample[], heads: number) {
  async function run({ q, k, v }: LayerSample, values: Values): Promise<Float32Array> {
    const feeds = onlyInputs(program, { q, k, v, ...Object.fromEntries(values) });
    const { out } = await program.run(feeds, ['out']);
    return dataOf(out, 'float32');
  }

  /** Squared errors per head. */
  async function errorsOf(values: Values): Promise<Float64Array> {
    const errors = new Float64Array(heads);
    for (const sample of samples) {
      const output = await run(sample, values);
      const width = sample.mixed.shape[3];
      sample.mixed.data.forEach((x, i) => {
        errors[Math.floor(i / width) % heads] += (output[i] - x) ** 2;
      });
    }
    return errors;
  }

  /** All heads' squared error over the teacher's squares. */
  async function error(values: Values): Promise<number> {
    const errors = await errorsOf(values);
    const squares = samples.reduce((total, { mixed }) => total + mixed.data.reduce((sum, x) => sum + x * x, 0), 0);
    return errors.reduce((a, b) => a + b, 0) / squares;
  }

  /** Picks, for each head or group of heads that share a number, the candidate with the least squared error. */
  async function search(values: Values, name: string, candidates: readonly number[]): Promise<Values> {
    const count = values.get(name)?.data.length ?? 0;
    const shared = heads / count;
    const chosen = new Float32Array(count);
    const least = new Float64Array(count).fill(Number.POSITIVE_INFINITY);
    for (const candidate of candidates) {
      const errors = await errorsOf(new Map(values).set(name, constant(count, candidate)));
      for (let index = 0; index < count; index++) {
        const own = errors.subarray(index * shared, (index + 1) * shared).reduce((a, b) => a + b, 0);
        if (own >= least[index]) continue;
        least[index] = own;
        chosen[index] = candidate;
      }
    }
    return new Map(values).set(name, float32([count], chosen));
  }

  /** A parameter's unknowns: one for a single number; for [H, …] one per place, for each head. */
  function unknownsOf({ name, shape }: MixerParameter) {
    const count = elementCount(shape);
    const perHead = shape[0] === heads && count > 1;
    const stride = perHead ? count / heads : 1;
    return Array.from({ length: perHead ? stride : count }, (_, place) => {
      const ones = Float32Array.from({ length: count }, (__, i) => (i % stride === place % stride ? 1 : 0));
      return { name, perHead, place, stride, direction: float32(shape, ones) };
    });
  }

  /** Least squares over parameters in which the output is affine. */
  async function solve(values: Values, fields: readonly MixerParameter[]): Promise<Values> {
    const zero = new Map(values);
    for (const { name, shape } of fields) zero.set(name, constant(elementCount(shape), 0, shape));
    const unknowns = fields.flatMap(unknownsOf);
    let size = 0;
    const first = unknowns.map(({ perHead }) => {
      const index = size;
      size += perHead ? heads : 1;
      return index;
    });
    const equations = normalEquations(size);
    for (const sample of samples) {
      const base = await run(sample, zero);
      const rest = sample.mixed.data.map((x, i) => x - base[i]);
      const columns: Float32Array[] = [];
      for (const { name, direction } of unknowns) {
        const output = await run(sample, new Map(zero).set(name, direction));
        columns.push(output.map((x, i) => x - base[i]));
      }
      for (let head = 0; head < heads; head++) {
        const indices = unknowns.map(({ perHead }, i) => first[i] + (perHead ? head : 0));
        const ofHead = (data: Float32Array): Float64Array => rowsOfHead(data, head, sample);
        equations.add(columns.map(ofHead), indices, ofHead(rest));
      }
    }
    const solution = equations.solve();
    const solved = new Map(values);
    for (const [i, { name, perHead, place, stride }] of unknowns.entries()) {
      const value = solved.get(name);
      if (value === undefined) continue;
      const data = place === 0 ? new Float32Array(value.data.length) : value.data.slice();
      for (let head = 0; head < (perHead ? heads : 1); head++) {
        data[head * stride + place] = clamp(solution[first[i] + head]);
      }
      solved.set(name, float32(value.shape, data));
    }
    return solved;
  }

  return { error, search, solve };
}

/** One head's rows [n,E]. */
function rowsOfHead(data: Float32Array, head: number, { mixed }: LayerSample): Float64Array {
  const [, n, H, E] = mixed.shape;
  const rows = new Float64Array(n * E);
  for (let t = 0; t < n; t++) {
    for (let e = 0; e < E; e++) rows[t * E + e] = data[(t * H + head) * E + e];
  }
  return rows;
}

function constant(count: number, value: number, shape: readonly number[] = [count]): Tensor<'float32'> {
  return float32(shape, new Float32Array(count).fill(value));
}

function clamp(x: number): number {
  return Math.max(-largestFactor, Math.min(largestFactor, x));
}
