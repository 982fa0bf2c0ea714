/**
 * The leak test: how far outputs at positions ≤ t move when the tokens after t are replaced. In a causal model they do not
 * move at all, for any t.
 */
import { segmentWeights } from '../../checkpoint/stored-parameter.ts';
import { Graph, type Value } from '../../graph/graph.ts';
import { abs, mul, sub } from '../../graph/ops/elementwise.ts';
import { max, sumSquare } from '../../graph/ops/reduce.ts';
import { type Tensor, dataOf, multiplyDims, tensor } from '../../graph/tensor.ts';
import { reshape, slice } from '../../graph/ops/layout.ts';
import type { CausalModel } from '../../models/model.ts';
import { constantPositions, parallelMix, parallelMixing } from '../../models/graphs/parallel-graph.ts';
import { InputParameters } from '../../nn/parameters.ts';
import type { Random } from '../../random.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import type { SegmentWeights } from '../../runtime/segmented-program.ts';
import { compileWeighted, runOnce } from '../../runtime/weighted-program.ts';
import type { ParameterValues } from './forms.ts';

/** How far one output moved. */
export interface Movement {
  /** Largest movement at a position ≤ t, over the output's largest magnitude. NaN if the output is not finite. */
  readonly relative: number;
  readonly absolute: number;
  /** The t at which it moved most. */
  readonly cut: number;
}

/**
 * A compiled leak test; parameters are inputs, so one program serves all layers with the same mixer. Dispose of it.
 * @param cuts positions t, each from 0 to `length` − 2
 * @param weights for a model that runs layer by layer
 */
export async function compileMovement(
  model: CausalModel,
  length: number,
  cuts: readonly number[],
  options?: CompileOptions,
  weights?: SegmentWeights,
) {
  const program = await compileWeighted(movementGraph(model, length, cuts), weights, options);
  return {
    /** Movements of every layer's mixer output, and of the model's final hidden states. */
    async run(parameters: ParameterValues, random: Random) {
      const tokens = changedTokens(model.sizes.vocabulary, length, cuts, random);
      const results = await runOnce(program, { tokens }, segmentWeights(parameters));
      const movement = (name: string): Movement => {
        const moved = dataOf(results[`moved.${name}`], 'float32');
        const [peak] = dataOf(results[`peak.${name}`], 'float32');
        const [energy] = dataOf(results[`energy.${name}`], 'float32');
        const absolute = Number.isFinite(energy) ? Math.max(...moved) : Number.NaN;
        const worst = moved.indexOf(Math.max(...moved));
        return { absolute, relative: absolute === 0 ? 0 : absolute / peak, cut: cuts[Math.max(0, worst - 1)] };
      };
      return { layers: model.mixers.map((_, layer) => movement(`layer ${layer}`)), model: movement('model') };
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Row 0 is a random sequence; row i equals it up to position cuts[i − 1] and differs everywhere after it. */
function changedTokens(V: number, n: number, cuts: readonly number[], random: Random): Tensor {
  const base = Int32Array.from({ length: n }, () => random.integer(V));
  const tokens = new Int32Array((1 + cuts.length) * n);
  tokens.set(base);
  cuts.forEach((cut, i) => {
    for (let t = 0; t < n; t++) {
      // A shift of 1 to V − 1 is sure to change every token.
      const shift = t <= cut ? 0 : 1 + random.integer(Math.max(1, V - 1));
      tokens[(i + 1) * n + t] = (base[t] + shift) % V;
    }
  });
  return tensor('int32', [1 + cuts.length, n], tokens);
}

/** Only maxima leave the engine: a model's hidden states over all layers would be large. */
export function movementGraph(model: CausalModel, length: number, cuts: readonly number[]): Graph {
  const graph = new Graph('future movement');
  const source = new InputParameters(graph);
  const B = 1 + cuts.length;
  const tokens = graph.input('tokens', 'int32', [B, length]);
  const past = new Float32Array(B * length);
  cuts.forEach((cut, i) => past.fill(1, (i + 1) * length, (i + 1) * length + cut + 1));
  const mask = graph.constant(tensor('float32', [B, length, 1], past));

  const report = (name: string, output: Value): void => {
    const features = multiplyDims(...output.shape.slice(2));
    const rows = reshape(output, [B, length, features]);
    const base = slice(rows, 0, 0, 1); // [1,n,features]
    graph.output(`moved.${name}`, max(mul(abs(sub(rows, base)), mask), [1, 2])); // [B]
    graph.output(`peak.${name}`, max(abs(base)));
    graph.output(`energy.${name}`, sumSquare(rows)); // NaN or infinite if any number is, which a maximum may hide
  };

  const mix = parallelMix(model, source);
  const mixing = parallelMixing((layer, projected, scoring) => {
    const mixed = mix(layer, projected, scoring);
    report(`layer ${layer}`, mixed);
    return mixed;
  });
  const hidden = model.backbone(source, tokens, constantPositions(model, graph, B, length), mixing);
  report('model', hidden);
  return graph;
}
