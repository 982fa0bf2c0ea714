/** A model of any kind over a small batch of unequal lengths, run forwards and backwards by the support matrix. */
import { Graph } from '../../graph/graph.ts';
import { gradients } from '../../graph/gradients.ts';
import { sum } from '../../graph/ops/contraction.ts';
import { mul } from '../../graph/ops/elementwise.ts';
import { dataOf, elementCount, float32, int32, tensor, type Tensor, type Weights } from '../../graph/tensor.ts';
import { type Computation, computed, inputsOf } from '../../evaluation/check/forms.ts';
import type { Model } from '../../models/families/index.ts';
import { wholeHidden } from '../../models/graphs/parallel-graph.ts';
import { InputParameters } from '../../nn/parameters.ts';
import type { Random } from '../../random.ts';
import { compile, type CompileOptions, type NamedTensors } from '../../runtime/compile.ts';
import { onlyInputs, type Program } from '../../runtime/program.ts';
import { modelAttentions } from '../../models/model.ts';

/** Texts of a batch, one a row. `second` is the decoder's input next to the encoder's text; other models ignore it. */
export interface Texts {
  readonly first: readonly Int32Array[];
  readonly second: readonly Int32Array[];
}

/** Texts as one padded tensor, with its mask. */
function padded(rows: readonly Int32Array[]): { tokens: Tensor<'int32'>; mask: Tensor<'float32'> } {
  const n = Math.max(...rows.map((row) => row.length));
  const tokens = new Int32Array(rows.length * n);
  const mask = new Float32Array(rows.length * n);
  rows.forEach((row, b) => {
    tokens.set(row, b * n);
    mask.fill(1, b * n, b * n + row.length);
  });
  return { tokens: int32([rows.length, n], tokens), mask: float32([rows.length, n], mask) };
}

/** Inputs of a batch by name. */
function feedsOf(model: Model, texts: Texts): NamedTensors {
  return { ...padded(texts.first), predicted: padded(predictedTexts(model, texts)).tokens };
}

/** Logits [B,n,V] of a batch. */
function logitsOf(model: Model): Computation {
  return (source, { predicted, tokens, mask }) =>
    model.head(source, wholeHidden(model, source, { tokens: () => predicted, read: () => ({ tokens, mask }) }));
}

function predictedTexts(model: Model, texts: Texts): readonly Int32Array[] {
  return modelAttentions(model).some(({ part }) => part === 'cross') ? texts.second : texts.first;
}

/** Logits [n,V] of every row, padding cut off. */
export async function runForward(
  model: Model,
  parameters: Weights,
  texts: Texts,
  options?: CompileOptions,
): Promise<Float32Array[]> {
  const data = await computed(parameters, feedsOf(model, texts), logitsOf(model), options);
  const V = model.sizes.vocabulary;
  const rows = predictedTexts(model, texts);
  const n = data.length / (rows.length * V);
  return rows.map((row, b) => data.subarray(b * n * V, (b * n + row.length) * V));
}

interface DirectionalDerivative {
  /** ⟨∇L, u⟩ by our gradients. */
  readonly gradient: number;
  /** (L(θ + εu) − L(θ − εu)) / 2ε, at the ε of `differenceSteps` that comes closest. */
  readonly difference: number;
  /** √Σ (∂L/∂θᵢ · uᵢ)²: the usual size of such a derivative, whatever cancels in this one. */
  readonly magnitude: number;
  readonly finite: boolean;
}

/** The derivative of a random sum of logits along a random direction of parameters, by gradients and central differences. */
export async function runBackward(
  model: Model,
  parameters: Weights,
  texts: Texts,
  random: Random,
  options?: CompileOptions,
): Promise<DirectionalDerivative> {
  const graph = new Graph('support backward');
  const source = new InputParameters(graph);
  const feeds = feedsOf(model, texts);
  const logits = logitsOf(model)(source, inputsOf(graph, feeds));
  const shape = logits.shape.map(Number);
  const upstream = tensor('float32', shape, random.normals(elementCount(shape)));
  const loss = sum(mul(logits, graph.constant(upstream)));
  graph.output('loss', loss);
  const names = [...source.values.keys()];
  gradients(loss, [...source.values.values()]).forEach((value, i) => graph.output(`gradient ${names[i]}`, value));
  await using program = await compile(graph, options);
  const fetched = names.map((name) => `gradient ${name}`);
  const found = await run(program, parameters, feeds, fetched);
  const direction = new Map([...parameters].map(([name, { data }]) => [name, random.normals(data.length)]));
  let gradient = 0;
  let squares = 0;
  let finite = true;
  for (const name of names) {
    const along = direction.get(name) ?? new Float32Array(0);
    dataOf(found[`gradient ${name}`], 'float32').forEach((value, i) => {
      gradient += value * along[i];
      squares += (value * along[i]) ** 2;
      finite &&= Number.isFinite(value);
    });
  }
  const lossAt = async (step: number): Promise<number> => {
    const moved = [...parameters].map(([name, { shape: own, data }]) => {
      const along = direction.get(name);
      const shifted = data.map((x, i) => x + step * (along?.[i] ?? 0));
      return [name, float32(own, shifted)] as const;
    });
    return Number((await run(program, new Map(moved), feeds, ['loss'])).loss.data[0]);
  };
  let difference = Number.POSITIVE_INFINITY;
  for (const step of differenceSteps) {
    const candidate = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    if (Math.abs(candidate - gradient) < Math.abs(difference - gradient)) difference = candidate;
  }
  return { gradient, difference, magnitude: Math.sqrt(squares), finite };
}

/** Step sizes between visible curvature of the loss and its float32 rounding; the best one differs by mixer. */
const differenceSteps = [2 ** -10, 2 ** -12, 2 ** -14, 2 ** -16, 2 ** -18];

/** Parameters that a short batch does not reach, such as α with a single group, are not inputs of its program. */
function run<K extends string>(
  program: Program,
  parameters: Weights,
  feeds: Readonly<Record<string, Tensor>>,
  fetch: readonly K[],
): Promise<Record<K, Tensor>> {
  return program.run(onlyInputs(program, { ...Object.fromEntries(parameters), ...feeds }), fetch);
}
