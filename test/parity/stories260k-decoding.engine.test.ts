/** A real pretrained LLaMA decoded from its folder: greedy text equals PyTorch's, token for token. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { type GenerateOptions, generateToEnd } from '../decoding/generated.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { present, thirdParty } from '../fixtures.ts';
import { scratchFolder } from '../scratch-folder.ts';

const folder = thirdParty('stories260k');
const reference = thirdParty('stories260k/expected-greedy.json');
const absent = folder === undefined || reference === undefined;
const referenceSchema = z.object({ greedy_ids: z.array(z.int()) });

describe.skipIf(absent)(`decoding stories260k${absent ? ' (skipped: third-party fixtures are absent)' : ''}`, () => {
  let engine: DecodingEngine;
  let fingerprint: string;
  let tokenizer: Tokenizer;
  /** BOS and 255 tokens. */
  let expected: number[];

  beforeAll(async () => {
    const loaded = await loadCausalModel(present(folder));
    fingerprint = loaded.fingerprint;
    engine = await DecodingEngine.create(loaded.model, loaded.parameters);
    tokenizer = await loadTokenizer(present(folder));
    expected = referenceSchema.parse(JSON.parse(readFileSync(present(reference), 'utf8'))).greedy_ids;
  });
  afterAll(async () => {
    await engine.dispose();
  });

  it('gives the reference tokens, their text, and the same text in pieces', async () => {
    const result = await generateToEnd(engine, { promptTokens: [], maxTokens: 255, tokenizer });
    expect([1, ...result.tokens]).toEqual(expected);
    expect(result.text).toBe(tokenizer.decode(expected));
    expect(result.finish).toBe('length');

    // The rest of the text, from prompts that end anywhere in it, read in one piece.
    for (const length of [2, 63, 64, 65, 200]) {
      const options = { promptTokens: expected.slice(0, length), maxTokens: 256 - length, tokenizer };
      const rest = await generateToEnd(engine, options);
      expect([...options.promptTokens, ...rest.tokens]).toEqual(expected);
      expect(tokenizer.decode(options.promptTokens) + rest.text).toBe(result.text);
    }
  });

  it('ends at the first sentence when told to', async () => {
    const result = await generateToEnd(engine, {
      promptTokens: [],
      maxTokens: 255,
      tokenizer,
      stop: { strings: ['. '] },
    });
    expect(result.finish).toBe('stop');
    expect(result.text).toBe(tokenizer.decode(expected).split('. ')[0]);
    expect(result.text).toMatch(/^Once upon a time, there was a little girl/);
  });

  it('continues a sampled story from a file as if it had not been interrupted', async () => {
    const place = await scratchFolder();
    const config = { temperature: 0.9, topP: 0.95, seed: 11 };
    const options: Omit<GenerateOptions, 'maxTokens'> = { promptTokens: tokenizer.encode('Tim and', { bos: true }) };
    const whole = await generateToEnd(engine, { ...options, maxTokens: 90, sampler: new Sampler(config) });

    const sampler = new Sampler(config);
    const { state, tokens } = await generateToEnd(engine, { ...options, maxTokens: 40, sampler });
    const path = join(place, 'story.safetensors');
    const text = [...Array.from(options.promptTokens), ...tokens];
    await saveSession(path, { state, tokens: text, random: sampler.random.state, fingerprint });
    const restored = await restoreSession(path, engine, fingerprint);
    const rest = await generateToEnd(engine, {
      promptTokens: restored.tokens,
      state: restored.state,
      maxTokens: 50,
      sampler: new Sampler(config, restored.random),
    });
    expect([...tokens, ...rest.tokens]).toEqual(whole.tokens);
  });
});
