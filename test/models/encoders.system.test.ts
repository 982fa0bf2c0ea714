/** Encoders through the commands: what is said of them and changed in them, and what needs a model of another kind. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { describeModel, supportedFamilies } from '../../src/models/families/index.ts';
import { runCaptured, runJson } from '../cli/captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { writeBook } from '../cli/text-data.ts';
import { saveTinyModel, tinyConfig } from './tiny-model.ts';

const encoders = supportedFamilies.filter((family) => describeModel(tinyConfig(family)).kind === 'encoder');

const folder = suiteFolder();
const base = (family: string): string => join(folder, family);

beforeAll(async () => {
  await writeBook(join(folder, 'book.txt'));
  for (const family of encoders) await saveTinyModel(base(family), 1, family);
});

it('has an encoder to test', () => {
  expect(encoders).toContain('bert');
});

describe.each(encoders)('%s', (family) => {
  it('is inspected as an encoder, without a state', async () => {
    const reported = await runCaptured(['inspect', base(family)]);
    expect(reported.stdout).toMatch(/kind +encoder/);
    expect(reported.stdout).toMatch(/is an encoder: it cannot decode and has no state/);
    expect(reported.stdout).not.toContain('KV cache');
    const json = await runJson('inspect', base(family));
    expect(json).toMatchObject({ family, kind: 'encoder', stateBytes: null, stateBytesPerToken: null });
  });

  it('takes mixers that no causal model can decode with', async () => {
    const out = join(folder, `${family}-linformer`);
    const sizes = ['--rows', '4', '--length', '128', '--convolution', '--kernel', '5'];
    await runJson('linearize', base(family), '--mixer', 'linformer', ...sizes, '--out', out);
    const before = await loadModel(base(family));
    const after = await loadModel(out);
    expect(after.model.mixers.map(({ kind }) => kind)).toEqual(['linformer', 'linformer']);
    for (const [name, value] of before.parameters) expect(after.parameters.get(name), name).toEqual(value);
    const added = [...after.parameters.keys()].filter((name) => !before.parameters.has(name));
    for (const layer of [0, 1]) {
      const names = ['linformer_k.weight', 'linformer_v.weight', 'dwconv.weight'];
      expect(added).toEqual(
        expect.arrayContaining(names.map((name) => `${after.model.attentionPrefix(layer)}.${name}`)),
      );
    }
    expect(added).toHaveLength(6);
  });

  const causal = String.raw`needs a causal language model.*of kind \\"encoder\\"`;
  it.each([
    ['generate', 'is an encoder: it reads texts and generates none', '--prompt', 'It was'],
    ['eval perplexity', causal, '--data', 'book.txt'],
    ['bench decode', 'is an encoder: it reads texts and generates none'],
  ])('is refused by %s with its kind', async (command, reason, ...options) => {
    const words = options.map((word) => (word === 'book.txt' ? join(folder, word) : word));
    const reported = await runCaptured([...command.split(' '), base(family), ...words, '--json']);
    expect(reported.exitCode).not.toBe(0);
    expect(reported.stdout).toMatch(new RegExp(`"code":"CONFIG".*${reason}`));
  });
});
