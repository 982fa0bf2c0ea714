/** Models with the weights of golden cases: as folders, and run, and their results compared with what is stored. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { gradients } from '../../src/graph/gradients.ts';
import { Graph } from '../../src/graph/graph.ts';
import { mul } from '../../src/graph/ops/elementwise.ts';
import { float32, int32, type Tensor } from '../../src/graph/tensor.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { parallelHidden } from '../../src/models/graphs/parallel-graph.ts';
import { InputParameters } from '../../src/nn/parameters.ts';
import { compile } from '../../src/runtime/compile.ts';
import { nextTokenLoss } from '../../src/training/objectives/next-token.ts';
import { golden } from '../fixtures.ts';
import { goldenNumbers, type GoldenTensor, readGolden, relativeToPeak } from './golden.ts';
import { scratchFolder } from '../scratch-folder.ts';

/** The weights of a case under the names that a model has for them; see `CausalModel.parameterName`. */
export function goldenWeights(name: string, parameterName: CausalModel['parameterName']): Map<string, Tensor> {
  return new Map(
    [...readGolden(name, 'weights.safetensors')].flatMap(([stored, { shape, data }]) => {
      const parameter = parameterName(stored);
      return parameter === undefined ? [] : [[parameter, float32(shape, data)] as const];
    }),
  );
}

/** A case as the Hugging Face folder that it was taken from, for the test that runs. */
export async function goldenFolder(name: string): Promise<string> {
  const folder = await scratchFolder();
  await cp(join(golden(name), 'config.json'), join(folder, 'config.json'));
  await cp(join(golden(name), 'weights.safetensors'), join(folder, 'model.safetensors'));
  return folder;
}

/** Where most cases store hidden states, logits and the loss. */
const usualOutputs = { hidden: 'last_hidden_state', logits: 'logits64', loss: 'loss64' };

/** Results are what the case stores, in float32: under the usual names, or those given for the results to compare. */
export function expectGolden(
  results: Readonly<Record<string, Float64Array>>,
  io: ReadonlyMap<string, GoldenTensor>,
  storedAs: Readonly<Record<string, string>> = usualOutputs,
): void {
  for (const [result, stored] of Object.entries(storedAs)) {
    expect(relativeToPeak(results[result], goldenNumbers(io, stored)), result).toBeLessThan(2e-5);
  }
}

/** The gradients `grad.<name>` of parameters are what the case stores, under `grad.<name>` or where `storedAs` says. */
export function expectGoldenGradients(
  results: Readonly<Record<string, Float64Array>>,
  io: ReadonlyMap<string, GoldenTensor>,
  names: Iterable<string>,
  storedAs = (name: string): string => `grad.${name}`,
): void {
  for (const name of names) {
    expect(relativeToPeak(results[`grad.${name}`], goldenNumbers(io, storedAs(name))), name).toBeLessThan(1.5e-4);
  }
}

/** Runs every output of a graph and gives back its numbers. */
export async function runGraph(graph: Graph, feeds: Record<string, Tensor>): Promise<Record<string, Float64Array>> {
  const program = await compile(graph);
  const results = await program.run(feeds, [...program.outputs.keys()]);
  await program.dispose();
  return Object.fromEntries(
    Object.entries(results).map(([key, value]) => [key, Float64Array.from(value.data, Number)]),
  );
}

/** Runs a batch; returns `hidden`, `logits`, the mean next-token `loss` and `grad.<name>` of every parameter. */
export async function runGolden(
  model: CausalModel,
  weights: ReadonlyMap<string, Tensor>,
  ids: GoldenTensor,
): Promise<Record<string, Float64Array>> {
  const [B, n] = ids.shape;
  const graph = new Graph('golden');
  const source = new InputParameters(graph);
  const inputs = graph.input('inputs', 'int32', [B, n]);
  const hidden = parallelHidden(model, source, inputs);
  const batch = {
    inputs,
    labels: graph.input('labels', 'int32', [B, n]),
    weights: graph.input('weights', 'float32', [B, n]),
  };
  const loss = mul(nextTokenLoss(model, source, batch), 1 / (B * (n - 1)));
  const names = [...model.parameters.keys()];
  const found = gradients(
    loss,
    names.map((key) => source.parameter(key, model.parameters.get(key)?.shape ?? [])),
  );
  graph.output('hidden', hidden);
  graph.output('logits', model.head(source, hidden));
  graph.output('loss', loss);
  found.forEach((gradient, i) => {
    graph.output(`grad.${names[i]}`, gradient);
  });
  const tokens = Int32Array.from(ids.data);
  const next = (i: number): boolean => (i + 1) % n !== 0;
  return runGraph(graph, {
    ...Object.fromEntries(weights),
    inputs: int32([B, n], tokens),
    labels: int32(
      [B, n],
      tokens.map((_, i) => (next(i) ? tokens[i + 1] : 0)),
    ),
    weights: float32(
      [B, n],
      Float32Array.from(tokens, (_, i) => (next(i) ? 1 : 0)),
    ),
  });
}
