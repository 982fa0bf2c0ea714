/** How much memory an export takes: a few tensors, not the model. Measured in a process of its own. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { suiteFolder } from '../scratch-folder.ts';

const place = suiteFolder();

/** 54 million weights, 215 MB in float32, of which the largest matrix has 4 MB. */
const config = {
  model_type: 'llama',
  vocab_size: 512,
  hidden_size: 512,
  intermediate_size: 2048,
  num_hidden_layers: 14,
  num_attention_heads: 16,
  num_key_value_heads: 4,
  max_position_embeddings: 512,
  tie_word_embeddings: true,
};

/** Exports weights that are made when they are asked for, and prints the peak of the process next to its start. */
const script = `
import { exportModel } from './src/export/export-model.ts';
import { elementCount, tensor } from './src/graph/tensor.ts';
import { describeCausalModel } from './src/models/families/index.ts';
const [dir, dtype] = process.argv.slice(-2);
const model = describeCausalModel(${JSON.stringify(config)});
let bytes = 0;
const weights = {
  async read(name) {
    const { shape } = model.parameters.get(name);
    const data = new Float32Array(elementCount(shape));
    data.fill(0.1);
    bytes += data.byteLength;
    return tensor('float32', shape, data);
  },
};
const before = process.resourceUsage().maxRSS * 1024;
await exportModel(dir, { model, weights, dtype });
console.log(JSON.stringify({ bytes, grown: process.resourceUsage().maxRSS * 1024 - before }));
`;

describe('exporting a model of 215 MB', () => {
  it.each(['f32', 'w8a8', 'int4'])(
    'as %s takes less than three fifths of that',
    { timeout: 120_000 },
    async (dtype) => {
      const root = fileURLToPath(new URL('../..', import.meta.url));
      const flags = ['--import', 'tsx', '--input-type=module', '--eval', script];
      const run = await promisify(execFile)(process.execPath, [...flags, join(place, dtype), dtype], { cwd: root });
      const { bytes, grown } = z.object({ bytes: z.number(), grown: z.number() }).parse(JSON.parse(run.stdout));
      expect(bytes).toBeGreaterThan(210e6);
      // Gate and up, half of a layer here, are encoded and written together.
      expect(grown).toBeLessThan(0.6 * bytes);
    },
  );
});
