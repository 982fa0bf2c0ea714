/** Blocks of int4 where no size is asked for: by the size of the model, and their bits. */
import { expect, it } from 'vitest';
import { tinyConfig } from '../models/tiny-model.ts';
import { chain } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import { formsOfExport } from '../../src/export/manifest.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { publishedShape } from '../../src/models/presets/presets.ts';
import { blockForSize } from '../../src/quantization/sources.ts';
import { readerOf } from '../../src/quantization/weight-reader.ts';
import { Random } from '../../src/random.ts';
import { engineMemory } from '../../src/training/memory-form.ts';

it.each([
  ['qwen2.5-0.5b', 32, 0.65],
  ['tinyllama-1.1b', 32, 1.13],
  ['llama-2-7b', 64, 4.55],
  ['llama-2-13b', 64, 8.57],
] as const)('%s has blocks of %i and opens in %f GiB', (name, block, gib) => {
  const { parameters } = describeCausalModel(publishedShape(name));
  expect(blockForSize(parameters)).toBe(block);
  expect(engineMemory(parameters, 'int4') / 2 ** 30).toBeCloseTo(gib, 1);
});

it('rows of an engine in blocks of 64 have the same bits alone and beside others', async () => {
  const sizes = { hidden_size: 256, intermediate_size: 256, num_attention_heads: 8, num_key_value_heads: 8 };
  const model = describeCausalModel({ ...tinyConfig('llama'), ...sizes });
  const weights = readerOf(initializeParameters(model, new Random(1), 0.2));
  const stored = { dtype: 'int4', device: 'cpu', block: 64 } as const;
  const source = storedSource(model, weights, stored);
  await using engine = await DecodingEngine.compile(model, source, { threads: 1, forms: formsOfExport(stored) });
  expect(engine.layout.productRows).toBe(true); // a spare row is not mixed
  const tokens = Int32Array.of(3, 1, 4, 1, 5);
  const request = { state: engine.newState(), tree: chain(5), tokens, wanted: [0, 1, 2, 3, 4] };
  const [{ logits }] = await engine.step([request]);
  const together = logits.map((row) => row.slice());
  const state = engine.newState();
  for (const [i, token] of tokens.entries()) {
    expect((await engine.advance(state, token)).logits, `row ${i}`).toEqual(together[i]);
  }
});
