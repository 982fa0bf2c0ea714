/**
 * Medusa heads (Cai et al., arXiv 2401.10774): draft heads on a model's hidden states. The model's own head predicts the
 * next token, t + 1; head i, counted from 1, predicts token t + 1 + i from the same hidden state. Each is
 *
 *     x ← x + SiLU(W x + b)     `layers` times, each block with its own weights
 *     logits = P x              P [V,width], no bias
 *
 * P starts as the model's head, including its factor on hidden states. W and b start at zero, so a fresh head equals the
 * model's head. (The reference code leaves b at PyTorch's random default, so its heads start slightly off, and shares one
 * set of weights among a head's blocks, since it repeats one module object.) Names follow the reference's checkpoints.
 */
import { LinnetError } from '../../errors.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { add, silu } from '../../graph/ops/elementwise.ts';
import { float32, type WeightMap, type Weights, zeros } from '../../graph/tensor.ts';
import { linear } from '../../nn/linear.ts';
import { type DeclaredParameters, ParameterList, InputParameters, type ParameterSource } from '../../nn/parameters.ts';
import { decoderOf, type GeneratingModel, type ModelSizes } from '../model.ts';

/** Number and depth of the heads. */
export interface MedusaConfig {
  /** Draft heads; the deepest draft is one token longer. */
  readonly heads: number;
  /** Residual blocks per head; the reference has 1. */
  readonly layers: number;
}

/** Upper bounds in files and options. */
export const medusaLimits = { heads: 16, layers: 8 } as const;

/** Whether a parameter belongs to the heads, not to the model. */
export function isMedusaParameter(name: string): boolean {
  return name.startsWith('medusa_head.');
}

/** Names of head `head`, counted from 0, and of its block `layer`. */
const names = {
  block: (head: number, layer: number) => `medusa_head.${head}.${layer}.linear`,
  projection: (head: number, { layers }: MedusaConfig) => `medusa_head.${head}.${layers}`,
};

/** All the heads' parameters. @throws LinnetError `CONFIG` for impossible numbers of heads or layers */
export function medusaParameters(
  config: MedusaConfig,
  { width, vocabulary }: Pick<ModelSizes, 'width' | 'vocabulary'>,
): DeclaredParameters {
  checkConfig(config);
  const list = new ParameterList();
  for (let head = 0; head < config.heads; head++) {
    for (let layer = 0; layer < config.layers; layer++) list.linear('matrix', names.block(head, layer), width, width);
    list.add('head', `${names.projection(head, config)}.weight`, [vocabulary, width]);
  }
  return list.all;
}

function checkConfig(config: MedusaConfig): void {
  for (const key of ['heads', 'layers'] as const) {
    const value = config[key];
    if (Number.isInteger(value) && value >= 1 && value <= medusaLimits[key]) continue;
    throw new LinnetError('CONFIG', `Medusa cannot have ${value} ${key}; expected 1 to ${medusaLimits[key]}`);
  }
}

/** Fresh heads: zero blocks, projections copied from the model's head. */
export function initializeMedusa(config: MedusaConfig, model: GeneratingModel, parameters: Weights): WeightMap {
  const headName = headWeight(model);
  const head = parameters.get(headName);
  if (head === undefined) throw new LinnetError('TENSOR', `parameter "${headName}" is missing`);
  const projections = new Set(Array.from({ length: config.heads }, (_, i) => `${names.projection(i, config)}.weight`));
  const fresh: WeightMap = new Map();
  const { headScale = 1 } = decoderOf(model);
  for (const [name, { shape }] of medusaParameters(config, model.sizes)) {
    const isProjection = projections.has(name);
    fresh.set(
      name,
      isProjection
        ? float32(
            head.shape,
            head.data.map((x) => x * headScale),
          )
        : zeros('float32', shape),
    );
  }
  return fresh;
}

/** The name of the matrix [V,width] in the model's head: the embedding if the two are tied. */
function headWeight(model: GeneratingModel): string {
  const { width, vocabulary } = model.sizes;
  const source = new InputParameters(new Graph('head'));
  model.head(source, source.graph.input('hidden', 'float32', [1, width]));
  const matrices = [...source.values].filter(([, { shape }]) => String(shape) === String([vocabulary, width]));
  if (matrices.length === 1) return matrices[0][0];
  throw new LinnetError(
    'CONFIG',
    `the head of a ${model.family} model is not a single matrix; Medusa heads cannot start from it`,
  );
}

/**
 * A head's logits [N,V].
 * @param source has the parameters of `medusaParameters`
 * @param head counted from 0
 * @param hidden hidden states after the final norm [N,width]
 */
export function headLogits(
  config: MedusaConfig,
  { width, vocabulary }: Pick<ModelSizes, 'width' | 'vocabulary'>,
  source: ParameterSource,
  head: number,
  hidden: Value,
): Value {
  let x = hidden;
  for (let layer = 0; layer < config.layers; layer++) {
    const block = names.block(head, layer);
    const bias = source.parameter(`${block}.bias`, [width]);
    x = add(x, silu(add(linear(source, block, x, width), bias)));
  }
  return linear(source, names.projection(head, config), x, vocabulary);
}
