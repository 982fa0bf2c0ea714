/** How much memory an opened checkpoint takes: its weights about once. Measured in a process of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { saveCheckpoint } from '../../src/checkpoint/save-checkpoint.ts';
import { elementCount } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { parameterCount } from '../../src/nn/parameters.ts';
import { suiteFolder } from '../scratch-folder.ts';

const place = suiteFolder();

/** 31 million weights, 125 MB in float32, of which the embedding, which is the head too, has 16 MB. */
const model = describeCausalModel({
  model_type: 'llama',
  vocab_size: 8192,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 7,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
});
const bytes = 4 * parameterCount(model.parameters);

/** Opens a model, reads a token, and prints by how much the peak of the process has grown. */
const script = `
import { open } from './src/open/index.ts';
const [folder, dtype] = process.argv.slice(-2);
const tiny = await open('assets/tiny-llama');
await tiny.engine();
const before = process.resourceUsage().maxRSS * 1024;
const model = await open(folder, { dtype });
const engine = await model.engine();
await engine.prefill(engine.newState(), [1, 2, 3]);
console.log(JSON.stringify({ grown: process.resourceUsage().maxRSS * 1024 - before }));
`;

describe('opening a checkpoint of 125 MB in float32', () => {
  it.each([
    ['F32', 'f32', 1.3],
    ['BF16', 'f32', 1.6],
    ['BF16', 'int4', 1],
  ] as const)('stored as %s and computed in %s takes at most %d times that', { timeout: 120_000 }, async (...given) => {
    const [stored, dtype, most] = given;
    const folder = join(place, `${stored}-${dtype}`);
    const tensors = [...model.parameters].map(([name, { shape }]) => ({
      ...{ name, shape },
      data: () => new Float32Array(elementCount(shape)).fill(0.1),
    }));
    await saveCheckpoint(folder, { config: model.toJson(), tensors, dtype: stored });
    const root = fileURLToPath(new URL('../..', import.meta.url));
    const flags = ['--import', 'tsx', '--input-type=module', '--eval', script];
    const run = await promisify(execFile)(process.execPath, [...flags, folder, dtype], { cwd: root });
    const { grown } = z.object({ grown: z.number() }).parse(JSON.parse(run.stdout));
    expect(grown / bytes).toBeLessThan(most);
  });
});
