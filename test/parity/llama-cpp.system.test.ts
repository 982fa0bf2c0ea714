/**
 * Tiny GGUF models of every architecture and type in their codes against llama.cpp itself, where bench/peers is installed: at every
 * place of its greedy texts the next token is the same, or one that is nearly as probable: both round activations to eight bits, in
 * blocks of other sizes.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { chain } from '../../src/attention/tree.ts';
import { open } from '../../src/open/index.ts';
import { runTypeScript } from '../../bench/peers/linnet.ts';
import { thirdParty } from '../fixtures.ts';
import { expectedGguf } from './golden-gguf.ts';

const peers = join(import.meta.dirname, '../../bench/peers');
const models = thirdParty('golden-gguf');
const isInstalled = existsSync(join(peers, 'node_modules/node-llama-cpp'));
const names =
  models === undefined
    ? []
    : readdirSync(models).filter((name) => name.includes('-') && !/^(tokenizer|bert|olmo2)-|split|\./.test(name));
const count = 32;

describe.skipIf(models === undefined || !isInstalled)('models of golden-gguf beside llama.cpp (bench/peers)', () => {
  const fileOf = (name: string): string => join(models ?? '', name, 'model.gguf');
  const sequencesOf = (name: string): number[][] =>
    expectedGguf(join(models ?? '', name)).sequences.map(({ ids }) => ids);
  let answers: Promise<ReadonlyMap<string, number[][]>> | undefined;
  async function ask(): Promise<ReadonlyMap<string, number[][]>> {
    const requests = names.map((name) => ({ model: fileOf(name), sequences: sequencesOf(name), count }));
    const printed = await runTypeScript(join(peers, 'greedy.ts'), [JSON.stringify(requests)]);
    const texts = z.array(z.array(z.array(z.int()))).parse(JSON.parse(printed.trim().split('\n').at(-1) ?? ''));
    return new Map(names.map((name, i) => [name, texts[i]]));
  }

  it.each(names)('%s', async (name) => {
    const texts = (await (answers ??= ask())).get(name) ?? [];
    await using model = await open(fileOf(name), { threads: 1 });
    const engine = await model.engine();
    let same = 0;
    let farthest = 0;
    for (const [i, ids] of sequencesOf(name).entries()) {
      const tokens = [...ids, ...texts[i].slice(0, -1)];
      const wanted = texts[i].map((_, at) => ids.length - 1 + at);
      const [{ logits }] = await engine.step([
        { state: engine.newState(), tree: chain(tokens.length), tokens, wanted },
      ]);
      for (const [at, row] of logits.entries()) {
        const best = Math.max(...row);
        const spread = Math.sqrt(row.reduce((sum, logit) => sum + logit * logit, 0) / row.length);
        const behind = (best - row[texts[i][at]]) / spread;
        if (behind === 0) same++;
        farthest = Math.max(farthest, behind);
      }
    }
    const share = same / (count * texts.length);
    if (process.env.LINNET_GGUF_LOG !== undefined) console.log(`${name} ${share.toFixed(3)} ${farthest.toFixed(3)}`);
    const isExact = /-(f32|f16|bf16)/.test(name);
    expect(share).toBeGreaterThan(isExact ? 0.97 : 0.8);
    expect(farthest).toBeLessThan(isExact ? 0.05 : 1);
  });
});
