/**
 * Low-rank adaptation (LoRA, arXiv 2106.09685): a frozen matrix W [outputs, inputs] gets a trainable update of rank r,
 *
 *     y = x Wᵀ + (α/r) · (x Aᵀ) Bᵀ,   A [r, inputs], B [outputs, r].
 *
 * B starts at zero, so that training starts at the model; afterwards W + (α/r)·BA merges both into one matrix. Names are
 * PEFT's without its prefix: "….q_proj.lora_A.weight".
 */
import { LinnetError } from '../errors.ts';
import { matmul } from '../graph/ops/contraction.ts';
import { add, mul } from '../graph/ops/elementwise.ts';
import { type DeferredTensor, tensor, type Tensor, type WeightMap, type Weights } from '../graph/tensor.ts';
import type { Random } from '../random.ts';
import { multiplyWeights } from './linear.ts';
import {
  type DeclaredParameters,
  ParameterList,
  type ParameterSource,
  type WeightMatrix,
  selectParameters,
} from './parameters.ts';

export const loraLimits = { rank: 1024 } as const;

export interface LoraScale {
  /** r. */
  readonly rank: number;
  /** α; the update is scaled by α/r. */
  readonly alpha: number;
}

/** An adaptation of some of a model's matrices. */
export interface Lora extends LoraScale {
  /** The matrices with an update, by parameter name: "….q_proj.weight". */
  readonly matrices: ReadonlyMap<string, WeightMatrix>;
}

const suffix = '.weight';

/** "….q_proj.weight" → "….q_proj". */
export function moduleOf(parameter: string): string {
  return parameter.slice(0, -suffix.length);
}

function namesOf(parameter: string): { a: string; b: string } {
  const module = moduleOf(parameter);
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` };
}

/** Whether a parameter is an update's A or B. */
export function isLoraParameter(name: string): boolean {
  return /\.lora_[AB]\.weight$/.test(name);
}

/** A and B of every matrix. */
export function loraParameters({ rank, matrices }: Lora): DeclaredParameters {
  const list = new ParameterList();
  for (const [name, { inputs, outputs }] of matrices) {
    const { a, b } = namesOf(name);
    list.add('matrix', a, [rank, inputs]);
    list.add('matrix', b, [outputs, rank]);
  }
  return list.all;
}

/** Initial values, as in PEFT: A uniform in ±1/√inputs (He et al.'s bound with a slope of √5), B zero. */
export function initializeLora(lora: Lora, random: Random): WeightMap {
  const parameters: WeightMap = new Map();
  for (const [name, { inputs, outputs }] of lora.matrices) {
    const { a, b } = namesOf(name);
    const bound = 1 / Math.sqrt(inputs);
    const values = Float32Array.from({ length: lora.rank * inputs }, () => bound * (2 * random.uniform() - 1));
    parameters.set(a, tensor('float32', [lora.rank, inputs], values));
    parameters.set(b, tensor('float32', [outputs, lora.rank], new Float32Array(outputs * lora.rank)));
  }
  return parameters;
}

/** The source with updates added to the adapted matrices' products; A and B are also parameters of `source`. */
export function withLora(source: ParameterSource, { rank, alpha, matrices }: Lora): ParameterSource {
  return {
    graph: source.graph,
    parameter: (name, shape) => source.parameter(name, shape),
    lookUp: (tokens, table) => source.lookUp?.(tokens, table),
    multiply(x, matrix) {
      if (!matrices.has(matrix.name)) return source.multiply?.(x, matrix);
      const { a, b } = namesOf(matrix.name);
      const down = matmul(x, source.parameter(a, [rank, matrix.inputs]), { transposeB: true }); // [..., r]
      const update = matmul(mul(down, alpha / rank), source.parameter(b, [matrix.outputs, rank]), { transposeB: true });
      return add(multiplyWeights(source, x, matrix), update);
    },
  };
}

/**
 * Adds the updates to their matrices and drops A and B. Does not copy unchanged tensors.
 * @throws LinnetError `TENSOR` for an update without its matrix or half of an update
 */
export function mergeLora(lora: Lora, parameters: Weights): WeightMap {
  const merged = selectParameters(parameters, (name) => !isLoraParameter(name));
  for (const name of lora.matrices.keys()) merged.set(name, mergedMatrix(lora, parameters, name, parameters.get(name)));
  return merged;
}

/** A matrix for `mergeLora`. @param updates A and B of all matrices */
function mergedMatrix(
  { rank, alpha, matrices }: Lora,
  updates: Weights,
  name: string,
  weight: Tensor<'float32'> | undefined,
): Tensor<'float32'> {
  const matrix = matrices.get(name);
  const names = namesOf(name);
  const [a, b] = [updates.get(names.a), updates.get(names.b)];
  if (matrix === undefined || weight === undefined || a === undefined || b === undefined) {
    throw new LinnetError('TENSOR', `"${name}" cannot be merged: the matrix, its lora_A or its lora_B is missing`);
  }
  return tensor('float32', weight.shape, addProduct(weight.data, a.data, b.data, matrix, rank, alpha));
}

/**
 * `mergeLora` for parameters that may be in files: their matrices get their updates when read.
 * @param trained A and B, and parameters trained whole
 */
export function mergedParameters<P extends Tensor<'float32'> | DeferredTensor<'float32'>>(
  lora: Lora,
  trained: Weights,
  parameters: ReadonlyMap<string, P>,
): Map<string, P | Tensor<'float32'> | DeferredTensor<'float32'>> {
  const merged = new Map<string, P | Tensor<'float32'> | DeferredTensor<'float32'>>(parameters);
  for (const [name, value] of trained) if (!isLoraParameter(name)) merged.set(name, value);
  for (const name of lora.matrices.keys()) {
    const matrix = parameters.get(name);
    const of = (weight?: Tensor<'float32'>) => mergedMatrix(lora, trained, name, weight);
    if (matrix === undefined || 'data' in matrix) merged.set(name, of(matrix));
    else merged.set(name, { dtype: 'float32', shape: matrix.shape, load: async () => of(await matrix.load()) });
  }
  return merged;
}

/** W + (α/r)·BA, summed in float64 and rounded once. */
function addProduct(
  weight: Float32Array,
  a: Float32Array,
  b: Float32Array,
  { inputs, outputs, layout }: WeightMatrix,
  rank: number,
  alpha: number,
): Float32Array {
  const merged = Float32Array.from(weight);
  const row = new Float64Array(inputs);
  for (let o = 0; o < outputs; o++) {
    row.fill(0);
    for (let r = 0; r < rank; r++) {
      const factor = (alpha / rank) * b[o * rank + r];
      for (let i = 0; i < inputs; i++) row[i] += factor * a[r * inputs + i];
    }
    for (let i = 0; i < inputs; i++) {
      const place = layout === 'outputs-first' ? o * inputs + i : i * outputs + o;
      merged[place] = weight[place] + row[i];
    }
  }
  return merged;
}

/**
 * Short names of matrices, with the families' names. Other names stand for themselves: `c_attn` means every matrix whose
 * name ends so, as in PEFT.
 */
const targetNames: Readonly<Record<string, readonly string[]>> = {
  q: ['q_proj', 'q', 'query'],
  k: ['k_proj', 'k', 'key'],
  v: ['v_proj', 'v', 'value'],
  o: ['o_proj', 'o', 'out_proj'],
  gate: ['gate_proj', 'wi_0', 'w1', 'input_linear'],
  up: ['up_proj', 'wi_1', 'w3', 'input_linear'],
  down: ['down_proj', 'wo', 'w2', 'output_linear'],
  wi: ['wi', 'wi_0', 'wi_1'],
};

/** The last part of a matrix's name, which PEFT lists as a target: "q_proj". */
export function targetOf(parameter: string): string {
  const module = moduleOf(parameter);
  return module.slice(module.lastIndexOf('.') + 1);
}

/**
 * The matrices that targets name.
 * @param targets short names (`q`, `gate`), or ends of module names (`c_attn`, `mlp.c_proj`)
 * @throws LinnetError `CONFIG` for a target that matches no matrix of the model
 */
export function selectMatrices(
  matrices: ReadonlyMap<string, WeightMatrix>,
  targets: readonly string[],
): Map<string, WeightMatrix> {
  const chosen = new Set<string>();
  for (const target of targets) {
    const ends = Object.hasOwn(targetNames, target) ? targetNames[target] : [target];
    const found = [...matrices.keys()].filter((name) => {
      const module = moduleOf(name);
      return ends.some((end) => module === end || module.endsWith(`.${end}`));
    });
    if (found.length === 0) {
      const known = [...new Set([...matrices.keys()].map(targetOf))].join(', ');
      throw new LinnetError('CONFIG', `no matrix of the model is named "${target}"; there are ${known}`);
    }
    for (const name of found) chosen.add(name);
  }
  return selectParameters(matrices, (name) => chosen.has(name));
}
