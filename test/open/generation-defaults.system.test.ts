/**
 * Sampling of generation_config.json, where a request is silent: library, commands, server, AI SDK and exports. Options of a request
 * win; a temperature of 0 takes the most probable token.
 */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateText } from 'ai';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { linnet } from '../../src/ai-sdk/index.ts';
import { exportFolder } from '../../src/export/export-model.ts';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { open } from '../../src/open/index.ts';
import { runJson } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { chatTemplate, serve, tinyLlamaFolder } from '../serving/served.ts';

const folder = suiteFolder();
/** Draws by a temperature; takes the most probable token by a filter, which dialects do not have by themselves. */
const files = { warm: { do_sample: true, temperature: 1.5 }, narrow: { do_sample: true, temperature: 0.9, top_k: 1 } };
const prompt = 'The state of the';
const maxTokens = 16;
const written = z.looseObject({ text: z.string() });

beforeAll(async () => {
  for (const [name, json] of Object.entries(files)) {
    await cp(tinyLlamaFolder, join(folder, name), { recursive: true });
    await writeFile(join(folder, name, 'generation_config.json'), JSON.stringify(json));
  }
});

async function opened<T>(name: keyof typeof files, use: (model: LanguageModel) => Promise<T>): Promise<T> {
  await using model = await open(join(folder, name), { threads: 1, chatTemplate });
  return await use(model);
}

describe('generation_config.json', () => {
  it('samples texts of the library that say nothing, and options win one by one', async () => {
    await opened('warm', async (model) => {
      const text = (options: object): Promise<string> =>
        model.generate(prompt, { maxTokens, seed: 3, ...options }).text();
      expect(model.defaults).toEqual({ temperature: 1.5 });
      const [silent, greedy] = [await text({}), await text({ temperature: 0 })];
      expect(silent).toBe(await text({ temperature: 1.5 }));
      expect(silent).not.toBe(greedy);
      expect(await text({ topK: 1 })).toBe(greedy);
      await using plain = await open(tinyLlamaFolder, { threads: 1 });
      expect(plain.defaults).toEqual({});
      expect(await plain.generate(prompt, { maxTokens }).text()).toBe(greedy);
    });
  });

  it('samples texts of commands', async () => {
    const generate = async (...options: string[]): Promise<string> => {
      const common = ['--prompt', prompt, '--max-tokens', String(maxTokens), '--seed', '3', '--threads', '1'];
      return written.parse(await runJson('generate', join(folder, 'warm'), ...common, ...options)).text;
    };
    const [silent, greedy] = [await generate(), await generate('--temperature', '0')];
    expect(silent).toBe(await generate('--temperature', '1.5'));
    expect(silent).not.toBe(greedy);
    expect(await generate('--top-k', '1')).toBe(greedy);
    expect(await runJson('inspect', join(folder, 'warm'))).toMatchObject({
      generation: { temperature: 1.5, eosIds: [1] },
    });
  });

  it('goes before the sampling of a dialect, and requests before both', async () => {
    await opened('narrow', async (model) => {
      const greedy = await model.generate(prompt, { maxTokens, temperature: 0 }).text();
      const { server } = await serve(model);
      const post = async (path: string, body: object): Promise<unknown> => {
        const request = { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
        return await (await fetch(server.url + path, request)).json();
      };
      const openAi = async (fields: object): Promise<string> => {
        const answer = await post('/v1/completions', { prompt, max_tokens: maxTokens, seed: 3, ...fields });
        return z.looseObject({ choices: z.tuple([written]) }).parse(answer).choices[0].text;
      };
      expect(await openAi({})).toBe(greedy);
      expect(await openAi({ temperature: 1.5, top_k: 0 })).not.toBe(greedy);
      expect(await openAi({ temperature: 0, top_k: 0 })).toBe(greedy);
      const ollama = { model: model.name, prompt, raw: true, stream: false };
      const options = { num_predict: maxTokens, repeat_penalty: 1 };
      expect(await post('/api/generate', { ...ollama, options })).toMatchObject({ response: greedy });
      expect(await (await fetch(`${server.url}/props`)).json()).toMatchObject({
        default_generation_settings: { params: { temperature: 0.9, top_k: 1, top_p: 1 } },
      });
    });
  });

  it('samples answers of the AI SDK', async () => {
    const answer = async (name: keyof typeof files, options: object): Promise<string> => {
      const model = linnet(join(folder, name), { threads: 1, chatTemplate });
      try {
        return (await generateText({ model, prompt, maxOutputTokens: maxTokens, ...options })).text;
      } finally {
        await model[Symbol.asyncDispose]();
      }
    };
    const greedy = await answer('narrow', { temperature: 0 });
    expect(await answer('narrow', {})).toBe(greedy);
    expect(await answer('warm', { seed: 3 })).toBe(await answer('warm', { seed: 3, temperature: 1.5 }));
    expect(await answer('warm', { seed: 3 })).not.toBe(greedy);
  });

  it('is read of a model that is opened without a field of its configuration', async () => {
    const odd = join(folder, 'odd');
    await cp(join(folder, 'warm'), odd, { recursive: true });
    const config = z.looseObject({}).parse(JSON.parse(await readFile(join(odd, 'config.json'), 'utf8')));
    await writeFile(join(odd, 'config.json'), JSON.stringify({ ...config, rope_jitter: 2 }));
    await expect(open(odd)).rejects.toThrow('"rope_jitter" (positions)');
    await using model = await open(odd, { threads: 1, ignore: ['rope_jitter'] });
    expect(await model.generate(prompt, { maxTokens: 2, seed: 3 }).text()).not.toBe('');
    expect(model.description.toJson()).toEqual(config);
  });

  it('goes with an export', async () => {
    const out = join(folder, 'exported');
    await exportFolder(join(folder, 'warm'), out, { dtype: 'f32' });
    await using model = await open(out, { threads: 1 });
    expect(model.defaults).toEqual({ temperature: 1.5 });
  });
});
