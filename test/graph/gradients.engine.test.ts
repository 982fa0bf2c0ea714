/** Every op's gradient against finite differences. The list of ops is read from the folder: none can be left out. */
import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { vectorJacobian } from '../../src/graph/gradients.ts';
import { type Attributes, Graph, liveNodes, type Op, type Value } from '../../src/graph/graph.ts';
import { type Tensor, elementCount, staticShape, tensor } from '../../src/graph/tensor.ts';
import { Random } from '../../src/random.ts';
import { compile } from '../../src/runtime/compile.ts';
import { type GradientExample, gradientExamples } from './gradient-examples.ts';

const opsFolder = resolve(fileURLToPath(import.meta.url), '../../../src/graph/ops');

function isOp(value: unknown): value is Op<Attributes> {
  return (
    (typeof value === 'object' || typeof value === 'function') &&
    value !== null &&
    'definition' in value &&
    'apply' in value
  );
}

async function allOps(): Promise<Op<Attributes>[]> {
  const files = readdirSync(opsFolder).filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'));
  const modules = await Promise.all(
    files.map((file): Promise<Record<string, unknown>> => import(resolve(opsFolder, file))),
  );
  return [...new Set(modules.flatMap((module) => Object.values(module).filter(isOp)))]; // index.ts has them once more
}

const ops = await allOps();
const known = new Set(ops.map((op) => op.definition.name));

function drawn(random: Random, { shapes, draw = (r) => r.normal() }: GradientExample): Tensor<'float32'>[] {
  return shapes.map((shape) =>
    tensor(
      'float32',
      shape,
      Float32Array.from({ length: elementCount(shape) }, () => draw(random)),
    ),
  );
}

/** Largest |finite difference − gradient| over a few random directions per input, relative to the gradient's size. */
async function gradientError(example: GradientExample, seed: number): Promise<number> {
  const random = new Random(seed);
  const graph = new Graph('example');
  const inputs = example.shapes.map((shape, i) => graph.input(`x${i}`, 'float32', shape));
  const output = example.build([...inputs], graph);
  const shape = staticShape(output.shape) ?? [];
  const upstreamTensor = tensor(
    'float32',
    shape,
    Float32Array.from({ length: elementCount(shape) }, () => random.normal()),
  );
  const upstream = graph.input('upstream', 'float32', shape);
  const found = vectorJacobian([output], [upstream], inputs);
  graph.output('y', output);
  found.forEach((gradient: Value, i) => {
    graph.output(`dx${i}`, gradient);
  });
  for (const node of liveNodes(graph.outputs.values())) expect(known).toContain(node.op);
  const program = await compile(graph);
  const values = drawn(random, example);
  const run = async (moved: readonly Tensor[], fetch: readonly string[]): Promise<Record<string, Tensor>> => {
    const feeds = Object.fromEntries(moved.map((value, i) => [`x${i}`, value]));
    return program.run(program.inputs.has('upstream') ? { ...feeds, upstream: upstreamTensor } : feeds, fetch);
  };
  const objective = async (moved: readonly Tensor[]): Promise<number> => {
    const { y } = await run(moved, ['y']);
    return upstreamTensor.data.reduce((total, weight, i) => total + weight * Number(y.data[i]), 0);
  };
  const gradients = await run(
    values,
    found.map((_, i) => `dx${i}`),
  );
  let worst = 0;
  for (const [index, value] of values.entries()) {
    const gradient = Float64Array.from(gradients[`dx${index}`].data, Number);
    expect(gradient.length).toBe(value.data.length);
    for (let attempt = 0; attempt < 3; attempt++) {
      const direction = Float64Array.from(value.data, () => random.normal());
      const at = (step: number): Promise<number> => {
        const moved = [...values];
        moved[index] = tensor(
          'float32',
          value.shape,
          value.data.map((x, i) => x + step * direction[i]),
        );
        return objective(moved);
      };
      // Fourth-order central difference: with float32 evaluation a wide step and a high order beat a narrow step.
      const h = 0.01;
      const difference = (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h);
      const expected = gradient.reduce((total, g, i) => total + g * direction[i], 0);
      const size = Math.sqrt(gradient.reduce((total, g) => total + g * g, 0)) + 1;
      worst = Math.max(worst, Math.abs(difference - expected) / size);
    }
  }
  await program.dispose();
  return worst;
}

describe('the registry of ops', () => {
  it('has distinct names', () => {
    expect(known.size).toBe(ops.length);
  });

  it.each(ops.map((op) => [op.definition.name, op] as const))(
    '%s has a tested gradient, or a reason for none',
    (name, op) => {
      const { gradient } = op.definition;
      if ('notDifferentiable' in gradient) expect(gradient.notDifferentiable).not.toBe('');
      else expect(gradientExamples).toHaveProperty(name);
    },
  );

  it('has no examples of ops that do not exist', () => {
    for (const name of Object.keys(gradientExamples)) expect(known).toContain(name);
  });
});

describe('gradients equal finite differences', () => {
  const cases = Object.entries(gradientExamples).flatMap(([name, examples]) =>
    examples.map((example, index) => [`${name} #${index} ${JSON.stringify(example.shapes)}`, name, example] as const),
  );
  it.each(cases)('%s', async (_title, name, example) => {
    const graph = new Graph('probe');
    const output = example.build(
      example.shapes.map((shape, i) => graph.input(`x${i}`, 'float32', shape)),
      graph,
    );
    const used = liveNodes([output]).map((node) => node.op);
    if (name !== 'sign') expect(used).toContain(name); // sign only appears in the gradient of abs
    expect(await gradientError(example, 17)).toBeLessThan(5e-3);
  });
});
