/** Outputs of graphs that are not compiled here, which may have other sizes than they declare. */
import { expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { mixerPreset } from '../attention/presets.ts';
import { tensor } from '../graph/tensor.ts';
import { WeightParameters } from '../nn/parameters.ts';
import { compile } from '../runtime/compile.ts';
import { compileDecoding } from './compile-decoding.ts';
import { StepEngine } from './step-engine.ts';

it.each(['logits', 'hidden', 'rows', 'folded'])(
  'refuses "%s" of another size than its graph declares',
  async (output) => {
    const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 })]);
    const parameters = randomParameters(model, 1);
    const parts = await compileDecoding(
      model,
      (graph) => new WeightParameters(graph, parameters),
      async (graph) => {
        const program = await compile(graph);
        const run = program.run.bind(program);
        program.run = async (feeds, fetch, kept) => {
          const results = await run(feeds, fetch, kept);
          for (const name of fetch) {
            const count = 2 * results[name].data.length;
            if (name === output) results[name] = tensor('float32', [count], new Float32Array(count));
          }
          return results;
        };
        return program;
      },
    );
    await using engine = new StepEngine(...parts);
    expect(await errorCode(() => engine.prefill(engine.newState(), randomTokens(model, 64, 1)))).toBe('SHAPE');
  },
);
