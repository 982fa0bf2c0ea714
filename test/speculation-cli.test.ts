/** Speculation from the command line: same text, statistics in JSON, refusals. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCausalModel, saveModel } from '../src/checkpoint/load-model.ts';
import { saveMedusaHeads } from '../src/checkpoint/medusa-files.ts';
import { float32 } from '../src/graph/tensor.ts';
import { initializeMedusa } from '../src/models/medusa.ts';
import { Random } from '../src/random.ts';
import { tokenizerFileContents } from '../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../src/tokenizer/bytes.ts';
import { type CapturedRun, lastJson, runCaptured } from './captured-cli.ts';
import { suiteFolder } from './scratch-folder.ts';
import { saveTinyModel } from './tiny-model.ts';

const folder = suiteFolder();
const base = join(folder, 'base');
const augmented = join(folder, 'augmented');
const withHeads = join(folder, 'heads');

async function json(...words: string[]): Promise<Record<string, unknown>> {
  const result = await runCaptured([...words, '--json']);
  expect(result.stderr, 'a failed command').not.toMatch(/^linnet: /m);
  expect(result.exitCode).toBe(0);
  return lastJson(result);
}

async function failure(...words: string[]): Promise<CapturedRun> {
  const result = await runCaptured([...words, '--json']);
  expect(result.exitCode).not.toBe(0);
  return result;
}

/** A copy of the linearized model whose new branches are not idle. */
async function awaken(source: string, target: string): Promise<void> {
  const { model, parameters } = await loadCausalModel(source);
  const random = new Random(5);
  for (const [name, { shape, data }] of parameters) {
    if (!/global_factor$|dwconv\.weight$/.test(name)) continue;
    parameters.set(
      name,
      float32(
        shape,
        Float32Array.from(data, () => 0.5 * random.normal()),
      ),
    );
  }
  await saveModel(target, { model, parameters }, { tokenizerFiles: tokenizerFileContents(byteTokenizerFiles()) });
}

beforeAll(async () => {
  await saveTinyModel(base);
  const idle = join(folder, 'idle');
  await json('linearize', base, '--mixer', 'augmented', '--group', '4', '--kernel', '5', '--out', idle);
  await awaken(idle, augmented);
  await awaken(idle, withHeads);
  const { model, parameters, fingerprint } = await loadCausalModel(withHeads);
  const config = { heads: 2, layers: 1 };
  const tree = { paths: [[0], [1], [0, 0]], method: 'given' as const };
  await saveMedusaHeads(withHeads, {
    config,
    parameters: initializeMedusa(config, model, parameters),
    base: fingerprint,
    tree,
  });
});

describe('generate --speculate', () => {
  const request = ['--prompt', 'It was a dark and stormy night', '--max-tokens', '60', '--ignore-eos'];

  it('gives the text of sequential decoding with every drafter, and says how it went', async () => {
    const plain = await json('generate', withHeads, ...request);
    expect(plain).not.toHaveProperty('tokensPerStep');
    const treeFile = join(folder, 'tree.json');
    await writeFile(treeFile, '[[0],[0,0],[0,1]]');
    for (const [drafter, nodes, ...words] of [
      ['lookup', 16, '--speculate', 'lookup'],
      ['medusa', 4, '--speculate', 'medusa'],
      ['medusa', 4, '--speculate', 'medusa', '--tree', treeFile],
      ['draft', 5, '--speculate', 'draft', '--draft', base],
      ['lookup', 16, '--speculate', 'auto'],
    ] as const) {
      const model = drafter === 'lookup' && words[1] === 'auto' ? augmented : withHeads;
      const spoken = await json('generate', model, ...request, ...words);
      expect(spoken.tokens, drafter).toEqual(plain.tokens);
      expect(spoken.tokensPerStep).toBeGreaterThanOrEqual(1);
      expect(spoken.acceptedByDepth).toBeInstanceOf(Array);
      expect(spoken.speculation).toMatchObject({ drafter, seconds: { verify: expect.any(Number) as number } });
      const { nodesPerStep } = spoken.speculation as { nodesPerStep: number };
      expect(nodesPerStep).toBeLessThanOrEqual(nodes);
      expect(nodesPerStep).toBeGreaterThan(1);
    }
    const all = await json('generate', withHeads, ...request, '--speculate', 'auto', '--draft', base);
    expect(all.tokens).toEqual(plain.tokens);
    expect(all.speculation).toMatchObject({ drafter: 'medusa+draft+lookup' });
  });

  it('gives the sampled text of the same seed, and typical text without complaint', async () => {
    const sampled = [...request, '--temperature', '0.8', '--seed', '3'];
    const plain = await json('generate', withHeads, ...sampled);
    const exact = await json('generate', withHeads, ...sampled, '--speculate', 'medusa');
    expect(exact.tokens).toEqual(plain.tokens);
    for (const acceptance of ['typical', 'rejection']) {
      const other = await json('generate', withHeads, ...sampled, '--speculate', 'medusa', '--acceptance', acceptance);
      expect(other.tokens).toHaveLength(60);
    }
  });

  it('can be asked for the rules of other code, which give other texts', async () => {
    const words = ['generate', augmented, ...request, '--speculate', 'lookup'];
    const exact = await json(...words);
    const flattened = await json(...words, '--tree-convolution', 'flattened');
    expect(flattened.tokens).not.toEqual(exact.tokens);
    expect((await json(...words, '--tree-global', 'paper')).tokens).toHaveLength(60);
  });

  it('continues a session as if it had not speculated', async () => {
    const whole = await json('generate', augmented, ...request);
    const session = join(folder, 'night.session');
    const words = ['generate', augmented, '--session', session, '--ignore-eos', '--max-tokens', '30'];
    const first = await json(...words, '--prompt', 'It was a dark and stormy night', '--speculate', 'lookup');
    const second = await json(...words, '--speculate', 'lookup');
    expect([first.tokens, second.tokens].flat()).toEqual(whole.tokens);
  });

  it('refuses options that do not belong together, and heads that are not there', async () => {
    for (const words of [
      ['--speculate', 'draft'],
      ['--speculate', 'lookup', '--draft', base],
      ['--tree', 'tree.json'],
      ['--speculate', 'everything'],
    ]) {
      const { exitCode, stderr } = await failure('generate', augmented, ...request, ...words);
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(/--speculate/);
    }
    expect(lastJson(await failure('generate', augmented, ...request, '--speculate', 'medusa'))).toMatchObject({
      error: { code: 'NOT_FOUND' },
    });
    const deep = join(folder, 'deep.json');
    await writeFile(deep, '[[0],[0,0],[0,0,0]]');
    const words = ['--speculate', 'medusa', '--tree', deep];
    expect(lastJson(await failure('generate', withHeads, ...request, ...words))).toMatchObject({
      error: { code: 'CONFIG' },
    });
  });
});

describe('eval speculation', () => {
  it('finds no difference under the exact rule, and differences under the others', async () => {
    const stories = join(folder, 'stories.jsonl');
    const texts = ['A first story, long enough.', 'Another one.', 'The last story of them all.'];
    await writeFile(stories, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
    for (const data of [[], ['--data', stories]]) {
      const words = ['eval', 'speculation', augmented, '--prompts', '3', '--max-tokens', '60', ...data];
      const { prompts, rules } = await json(...words);
      expect(prompts).toBe(3);
      expect(rules).toHaveLength(4);
      const [exact, ...others] = rules as { name: string; mismatches: number; tokens: number }[];
      expect(exact).toMatchObject({ name: 'exact', mismatches: 0, tokens: 180 });
      expect(Math.max(...others.map(({ mismatches }) => mismatches))).toBeGreaterThan(0);
    }
    const { stdout } = await runCaptured(['eval', 'speculation', augmented, '--prompts', '2', '--max-tokens', '20']);
    expect(stdout).toMatch(/per 1,000 tokens/);
    expect(stdout).toMatch(/token for token/);
    expect(
      lastJson(await failure('eval', 'speculation', augmented, '--data', stories, '--prompts', '9')),
    ).toMatchObject({
      error: { code: 'INPUT' },
    });
  });
});
