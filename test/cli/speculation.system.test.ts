/** Speculation from the command line: same text, statistics in JSON, refusals. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel, saveModel } from '../../src/checkpoint/load-model.ts';
import { saveMedusaHeads } from '../../src/checkpoint/medusa-files.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { initializeMedusa } from '../../src/models/medusa/medusa.ts';
import { Random } from '../../src/random.ts';
import { tokenizerFileContents } from '../../src/tokenizer/byte-level.ts';
import { byteTokenizerFiles } from '../../src/tokenizer/bytes.ts';
import { type CapturedRun, errorOf, runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { writeJsonlTexts } from './text-data.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
const base = join(folder, 'base');
const augmented = join(folder, 'augmented');
const withHeads = join(folder, 'heads');

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
  await runJson('linearize', base, '--mixer', 'augmented', '--group', '4', '--kernel', '5', '--out', idle);
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
    const plain = await runJson('generate', withHeads, ...request);
    expect(plain).not.toHaveProperty('tokensPerStep');
    const treeFile = join(folder, 'tree.json');
    await writeFile(treeFile, '[[0],[0,0],[0,1]]');
    for (const [drafter, nodes, ...words] of [
      ['lookup', 16, '--speculate', 'lookup'],
      ['medusa', 4, '--speculate', 'medusa'],
      ['medusa', 4, '--speculate', 'medusa', '--tree', treeFile],
      ['draft', 5, '--speculate', 'draft', '--draft', base],
      ['suffix', 32, '--speculate', 'suffix'],
      ['recycle', 16, '--speculate', 'recycle'],
      ['auto', 32, '--speculate', 'auto'],
    ] as const) {
      const model = drafter === 'auto' ? augmented : withHeads;
      const spoken = await runJson('generate', model, ...request, ...words);
      expect(spoken.tokens, drafter).toEqual(plain.tokens);
      expect(spoken.tokensPerStep).toBeGreaterThanOrEqual(1);
      expect(spoken.acceptedByDepth).toBeInstanceOf(Array);
      expect(spoken.speculation).toMatchObject({ drafter, seconds: { verify: expect.any(Number) as number } });
      const { nodesPerStep } = z.object({ nodesPerStep: z.number() }).parse(spoken.speculation);
      expect(nodesPerStep).toBeLessThanOrEqual(nodes);
      expect(nodesPerStep).toBeGreaterThan(1);
    }
    const all = await runJson('generate', withHeads, ...request, '--speculate', 'auto', '--draft', base);
    expect(all.tokens).toEqual(plain.tokens);
    expect(all.speculation).toMatchObject({ drafter: 'medusa+draft+auto' });
  });

  it('gives the sampled text of the same seed, and typical text without complaint', async () => {
    const sampled = [...request, '--temperature', '0.8', '--seed', '3'];
    const plain = await runJson('generate', withHeads, ...sampled);
    const exact = await runJson('generate', withHeads, ...sampled, '--speculate', 'medusa');
    expect(exact.tokens).toEqual(plain.tokens);
    for (const acceptance of ['typical', 'rejection']) {
      const other = await runJson(
        'generate',
        withHeads,
        ...sampled,
        '--speculate',
        'medusa',
        '--acceptance',
        acceptance,
      );
      expect(other.tokens).toHaveLength(60);
    }
  });

  it('continues a session as if it had not speculated', async () => {
    const whole = await runJson('generate', augmented, ...request);
    const session = join(folder, 'night.session');
    const words = ['generate', augmented, '--session', session, '--ignore-eos', '--max-tokens', '30'];
    const first = await runJson(...words, '--prompt', 'It was a dark and stormy night', '--speculate', 'lookup');
    const second = await runJson(...words, '--speculate', 'lookup');
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
    const headless = await failure('generate', augmented, ...request, '--speculate', 'medusa');
    expect(errorOf(headless).code).toBe('NOT_FOUND');
    const deep = join(folder, 'deep.json');
    await writeFile(deep, '[[0],[0,0],[0,0,0]]');
    const words = ['--speculate', 'medusa', '--tree', deep];
    expect(errorOf(await failure('generate', withHeads, ...request, ...words)).code).toBe('CONFIG');
  });
});

describe('study rules', () => {
  const rulesSchema = z.array(z.object({ name: z.string(), mismatches: z.number(), tokens: z.number() }));

  it('finds no difference under the exact rule, and differences under the others', async () => {
    const stories = join(folder, 'stories.jsonl');
    const texts = ['A first story, long enough.', 'Another one.', 'The last story of them all.'];
    await writeJsonlTexts(stories, texts);
    const rulesOf = (...fields: string[]) => [
      ...['study', 'rules', '--set', `model=${augmented}`],
      ...fields.flatMap((field) => ['--set', field]),
    ];
    for (const data of [[], [`data=["${stories}"]`]]) {
      const words = rulesOf('prompts=3', 'maxTokens=60', ...data);
      const { prompts, rules } = await runJson(...words);
      expect(prompts).toBe(3);
      expect(rules).toHaveLength(4);
      const [exact, ...others] = rulesSchema.parse(rules);
      expect(exact).toMatchObject({ name: 'exact', mismatches: 0, tokens: 180 });
      expect(Math.max(...others.map(({ mismatches }) => mismatches))).toBeGreaterThan(0);
    }
    const { stdout } = await runCaptured(rulesOf('prompts=2', 'maxTokens=20'));
    expect(stdout).toMatch(/per 1,000 tokens/);
    expect(stdout).toMatch(/token for token/);
    const tooFew = await failure(...rulesOf(`data=["${stories}"]`, 'prompts=9'));
    expect(errorOf(tooFew).code).toBe('INPUT');
  });
});
