/**
 * GGUF models against llama.cpp itself, where bench/peers is installed. Both round activations to eight bits, in blocks of other sizes,
 * so that tokens that are nearly as probable may change places: tiny random models are compared as far as that rounding goes, and
 * models whose head was fitted, where one token leads by far, token by token.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { chain } from '../../src/attention/tree.ts';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { requireCausal } from '../../src/models/families/index.ts';
import { open } from '../../src/open/index.ts';
import { runTypeScript } from '../../bench/peers/linnet.ts';
import { writeTinyGguf } from '../../bench/peers/tiny-gguf.ts';
import { thirdParty } from '../fixtures.ts';
import { scratchFolder } from '../scratch-folder.ts';
import { expectedGguf } from './golden-gguf.ts';

const peers = join(import.meta.dirname, '../../bench/peers');
const models = thirdParty('golden-gguf');
const isInstalled = existsSync(join(peers, 'node_modules/node-llama-cpp'));
const names =
  models === undefined
    ? []
    : readdirSync(models).filter((name) => name.includes('-') && !/^(tokenizer|bert|olmo2)-|split|\./.test(name));
const count = 32;

const answersSchema = z.array(z.array(z.object({ tokens: z.array(z.int()) })));

describe.skipIf(models === undefined || !isInstalled)('models of golden-gguf beside llama.cpp (bench/peers)', () => {
  const folderOf = (name: string): string => join(models ?? '', name);
  const sequencesOf = (name: string): number[][] => expectedGguf(folderOf(name)).sequences.map(({ ids }) => ids);
  let answers: Promise<ReadonlyMap<string, number[][]>> | undefined;
  async function ask(): Promise<ReadonlyMap<string, number[][]>> {
    const requests = names.map((name) => ({
      model: join(folderOf(name), 'model.gguf'),
      sequences: sequencesOf(name),
      count,
    }));
    const printed = await runTypeScript(join(peers, 'greedy.ts'), [JSON.stringify(requests)]);
    const texts = answersSchema.parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''));
    return new Map(names.map((name, i) => [name, texts[i].map(({ tokens }) => tokens)]));
  }

  it.each(names)(
    '%s: every token of its greedy texts leads, or lies within the rounding of activations',
    async (name) => {
      const texts = (await (answers ??= ask())).get(name) ?? [];
      const path = join(folderOf(name), 'model.gguf');
      await using model = await open(path, { threads: 1 });
      const float = await loadModel(path);
      await using exact = await DecodingEngine.create(requireCausal(float.model), float.parameters, { threads: 1 });
      const engine = await model.engine();
      let rounding = 0;
      let behind = 0;
      let same = 0;
      for (const [i, ids] of sequencesOf(name).entries()) {
        const own = await logitsOf(engine, ids, texts[i]);
        const wanted = await logitsOf(exact, ids, texts[i]);
        for (const [at, row] of own.entries()) {
          const gap = Math.max(...row) - row[texts[i][at]];
          if (gap === 0) same++;
          behind = Math.max(behind, gap);
          rounding = Math.max(rounding, ...row.map((logit, token) => Math.abs(logit - wanted[at][token])));
        }
      }
      const share = same / (count * texts.length);
      if (process.env.LINNET_GGUF_LOG !== undefined) {
        console.log(`${name} ${share.toFixed(3)} behind ${behind.toFixed(4)} rounding ${rounding.toFixed(4)}`);
      }
      if (/-(f32|f16|bf16)/.test(name)) expect(share).toBe(1);
      // Either of two tokens is moved by either engine.
      else expect(behind).toBeLessThanOrEqual(2 * rounding);
    },
  );

  it('a LLaMA whose projections have biases has the probabilities', async () => {
    const model = join(await scratchFolder(), 'biased.gguf');
    await writeTinyGguf(model, join(folderOf('llama-f32'), 'model.gguf'), 'F32', undefined, { biases: true });
    const ids = sequencesOf('llama-f32')[0];
    const request = { model, sequences: [ids], count, probabilities: true };
    const printed = await runTypeScript(join(peers, 'greedy.ts'), [JSON.stringify([request])]);
    const [[{ tokens, probabilities }]] = z
      .array(z.array(z.object({ tokens: z.array(z.int()), probabilities: z.array(z.array(z.number())) })))
      .parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''));
    await using opened = await open(model, { threads: 1 });
    const rows = await logitsOf(await opened.engine(), ids, tokens);
    for (const [at, row] of rows.entries()) {
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0);
      const wanted = probabilities[ids.length - 1 + at];
      row.forEach((logit, token) => expect(Math.abs(Math.exp(logit) / total - wanted[token])).toBeLessThan(1e-5));
    }
  });

  it('a Qwen3.5 with a layer that drafts, as conversion names it, has the greedy tokens', async () => {
    const model = join(await scratchFolder(), 'mtp.gguf');
    await writeTinyGguf(model, join(folderOf('qwen35-q8_0'), 'model.gguf'), 'F32', undefined, { mtp: true });
    const sequences = sequencesOf('qwen35-q8_0');
    const printed = await runTypeScript(join(peers, 'greedy.ts'), [JSON.stringify([{ model, sequences, count }])]);
    const [texts] = answersSchema.parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''));
    await using opened = await open(model, { threads: 1 });
    expect(opened.hasMtp).toBe(true);
    const engine = await opened.engine();
    for (const [i, ids] of sequences.entries()) {
      const rows = await logitsOf(engine, ids, texts[i].tokens);
      expect(rows.map((row) => row.indexOf(Math.max(...row)))).toEqual(texts[i].tokens);
    }
  });

  it('each architecture with a fitted head: the greedy tokens are equal, and float32 weights give equal probabilities', async () => {
    const parameters = ['--models', models ?? '', '--types', 'F32,Q8_0,Q4_K', '--json'];
    const printed = await runTypeScript(join(peers, 'parity.ts'), parameters);
    const row = z.object({ architecture: z.string(), type: z.string(), distance: z.number() });
    const counted = row.extend({ tokens: z.int(), equal: z.int(), ours: z.number() });
    const rows = z.array(counted).parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''));
    expect(new Set(rows.map(({ architecture }) => architecture)).size).toBe(11);
    for (const { architecture, type, tokens, equal, distance } of rows) {
      const label = `${architecture} ${type}`;
      expect(equal / tokens, label).toBeGreaterThanOrEqual(0.99);
      // llama.cpp takes GELU from a table of half-precision numbers.
      const limit = type !== 'F32' ? 2 : ['gemma3', 'gpt2'].includes(architecture) ? 0.03 : 1e-4;
      expect(distance, label).toBeLessThan(limit);
    }
  });
});

/** Logits of the places whose next tokens are `text`, after `ids`. */
async function logitsOf(engine: StepEngine, ids: readonly number[], text: readonly number[]): Promise<number[][]> {
  const tokens = [...ids, ...text.slice(0, -1)];
  const wanted = text.map((_, at) => ids.length - 1 + at);
  const [{ logits }] = await engine.step([{ state: engine.newState(), tree: chain(tokens.length), tokens, wanted }]);
  return logits.map((row) => [...row]);
}
