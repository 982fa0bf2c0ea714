/** Greedy continuations equal those of executed reference code (test/golden: hf_llama_*), singly and in a batch. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { chain } from '../../src/attention/tree.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepRequest } from '../../src/decoding/step-engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { describeCausalModel } from '../../src/models/families/index.ts';
import { goldenConfig, goldenTensor, readGolden } from './golden.ts';

const cases = ['hf_llama_mha_tied', 'hf_llama_mha_untied', 'hf_llama_gqa_tied', 'hf_llama_gqa_untied'];

function largest(logits: Float32Array): number {
  return logits.reduce((best, x, token) => (x > logits[best] ? token : best), 0);
}

describe.each(cases)('%s', (name) => {
  const io = readGolden(name);
  const rows = (key: string): number[][] => {
    const { shape, data } = goldenTensor(io, key);
    return Array.from({ length: shape[0] }, (_, row) => [...data.subarray(row * shape[1], (row + 1) * shape[1])]);
  };
  const prompts = rows('generate.prompt');
  const outputs = rows('generate.output');
  let engine: DecodingEngine;

  beforeAll(async () => {
    const weights = [...readGolden(name, 'weights.safetensors')];
    const parameters = new Map(weights.map(([key, { shape, data }]) => [key, float32(shape, data)]));
    const model = describeCausalModel(goldenConfig(name, z.record(z.string(), z.unknown())));
    engine = await DecodingEngine.create(model, parameters, { threads: 1 });
  });
  afterAll(async () => {
    await engine.dispose();
  });

  it.each([0, 1])('text %i alone', async (row) => {
    const promptTokens = prompts[row];
    const { tokens } = await generateToEnd(engine, { promptTokens, maxTokens: 24, ignoreEos: true });
    expect([...promptTokens, ...tokens]).toEqual(outputs[row]);
  });

  it('both texts in one batch', async () => {
    const texts = prompts.map((prompt) => [...prompt]);
    const states = texts.map(() => engine.newState());
    let unread = texts.map((text) => text.slice());
    for (let step = 0; step < 24; step++) {
      const requests = states.map((state, row): StepRequest => {
        const count = unread[row].length;
        return { state, tree: chain(count), tokens: unread[row], wanted: [count - 1] };
      });
      const results = await engine.step(requests);
      for (const [row, request] of requests.entries()) {
        await engine.commit(
          request,
          results[row],
          Array.from({ length: request.tree.size }, (_, node) => node),
        );
        texts[row].push(largest(results[row].logits[0]));
      }
      unread = texts.map((text) => text.slice(-1));
    }
    expect(texts).toEqual(outputs);
  });
});
