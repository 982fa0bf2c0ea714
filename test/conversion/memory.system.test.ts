/** Sampling a teacher layer by layer holds one layer's samples. In a process of its own: compilers differ in what frames keep alive. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { z } from 'zod';

/** Prints the bytes of arrays while the samples of each layer are visited, and those of a layer's samples. */
const script = `
import { openCausalWeights } from './src/checkpoint/load-model.ts';
import { sampleLayers } from './src/conversion/layer-samples.ts';
const tiny = await openCausalWeights('assets/tiny-llama');
const texts = [1, 2, 3, 4].map((seed) => Int32Array.from({ length: 256 }, (_, i) => (seed * i) % 200));
const layers = new Set(tiny.model.mixers.keys());
const alive = [];
let ofLayer = 0;
await sampleLayers(tiny.model, tiny.parameters, texts, { layers }, async (_, samples) => {
  gc();
  await new Promise((resolve) => setTimeout(resolve, 20));
  gc();
  alive.push(process.memoryUsage().arrayBuffers);
  ofLayer = samples.flatMap(Object.values).reduce((sum, { data }) => sum + data.byteLength, 0);
});
await tiny[Symbol.asyncDispose]();
console.log(JSON.stringify({ alive, ofLayer }));
`;

it('samples of layers that were visited are let go', { timeout: 60_000 }, async () => {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const flags = ['--expose-gc', '--import', 'tsx', '--input-type=module', '--eval', script];
  const { stdout } = await promisify(execFile)(process.execPath, flags, { cwd: root });
  const { alive, ofLayer } = z.object({ alive: z.array(z.number()), ofLayer: z.number() }).parse(JSON.parse(stdout));
  expect(alive.length).toBeGreaterThan(2);
  expect(Math.max(...alive) - alive[0]).toBeLessThan(ofLayer);
});
