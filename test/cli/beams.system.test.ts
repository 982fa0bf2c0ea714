/** Beam search with a causal model through `linnet generate`. */
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const folder = suiteFolder();
beforeAll(async () => {
  await saveTinyModel(join(folder, 'base'), 1, 'llama');
  const words = ['--mixer', 'augmented', '--group', '4', '--kernel', '5', '--out', join(folder, 'augmented')];
  await runJson('linearize', join(folder, 'base'), ...words);
});

it.each(['base', 'augmented'])('%s: prints the best, and tells all of them', async (name) => {
  const words = ['generate', join(folder, name), '--prompt', 'Hi', '--max-tokens', '9', '--ignore-eos', '--beams', '3'];
  const reported = await runJson(...words);
  expect(reported).toMatchObject({
    finish: 'length',
    promptTokens: 3,
    beams: [{ tokens: reported.tokens, text: reported.text }, {}, {}],
  });
  expect(reported.tokens).toHaveLength(9);
  const printed = await runCaptured(words);
  expect(printed.stdout).toBe(`${String(reported.text)}\n`);
  expect(printed.stderr).toMatch(/9 tokens \(length\).*best of 3 beams/);
});

it.each([
  [['--session', 'x'], /--session does not work with a beam search/],
  [['--speculate', 'lookup'], /--speculate does not work with a beam search/],
  [['--stop', '.'], /--stop does not work with a beam search/],
  [['--temperature', '1'], /--temperature samples/],
])('refuses %j next to beams', async (words, message) => {
  const run = await runCaptured(['generate', join(folder, 'base'), '--prompt', 'Hi', '--beams', '2', ...words]);
  expect(run.stderr).toMatch(message);
  expect(run.exitCode).toBe(2);
});
