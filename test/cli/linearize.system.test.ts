/** `linnet linearize`: what it keeps, adds and configures, and what it refuses. */
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { errorOf, linnet, runJson } from './captured-cli.ts';
import { linearizedModels } from '../models/linearized-models.ts';

const { folder, base, augmented } = linearizedModels();

describe('linearize', () => {
  it('replaces only what Linnet wrote', async () => {
    const project = join(folder, 'project');
    await mkdir(project);
    await writeFile(join(project, 'thesis.tex'), 'text');
    // The model is not even looked for.
    const { code, message } = errorOf(
      await linnet('linearize', 'no-model', '--mixer', 'augmented', '--out', project, '--replace', '--json'),
    );
    expect(code).toBe('PATH');
    expect(message).toMatch(/did not write it.*"thesis\.tex" would be lost/);
    expect(await readdir(project)).toEqual(['thesis.tex']);
    const out = join(folder, 'twice');
    await runJson('linearize', base, '--mixer', 'augmented', '--out', out, '--replace');
    await runJson('linearize', base, '--mixer', 'augmented', '--out', out, '--replace');
  });

  it('keeps weights and tokenizer, adds neutral parameters', async () => {
    const before = await loadCausalModel(base);
    const after = await loadCausalModel(augmented);
    for (const [name, { data }] of before.parameters) expect(after.parameters.get(name)?.data).toEqual(data);
    const added = [...after.parameters].filter(([name]) => !before.parameters.has(name));
    expect(added.map(([name]) => name.replace(/.*self_attn\./, '')).sort()).toEqual([
      'dwconv.weight',
      'dwconv.weight',
      'global_factor',
      'global_factor',
    ]);
    for (const [, { data }] of added) expect(data.every((value) => value === 0)).toBe(true);
    const tokenizer = await loadTokenizer(augmented);
    expect(tokenizer.decode(tokenizer.encode('café'))).toBe('café');
  });

  it('gives first layers softmax inside blocks, as TransNormer has it', async () => {
    const out = join(folder, 'transnormer');
    const words = [
      '--mixer',
      'transnormer',
      '--softmax-layers',
      '1',
      '--group',
      '16',
      '--convolution',
      '--kernel',
      '7',
    ];
    await runJson('linearize', base, ...words, '--out', out);
    const { model } = await loadCausalModel(out);
    const convolution = { kernel: 7, masked: true };
    expect(model.mixers).toMatchObject([
      { kind: 'linear', group: 16, local: { kernel: 'softmax' }, global: null, convolution },
      { kind: 'features', group: 16, map: { name: 'elu' }, output: 'rms', convolution },
    ]);
  });

  it('passes every refinement on to the configuration', async () => {
    const refined = ['--local-kernel', 'softmax', '--lambda', '--castling', '--normalize', 'together'];
    const out = join(folder, 'refined');
    const reported = await runJson(
      'linearize',
      base,
      '--mixer',
      'augmented',
      '--kernel',
      '7',
      ...refined,
      '--out',
      out,
    );
    expect(reported).toMatchObject({
      changedLayers: [0, 1],
      mixers: [
        {
          config: {
            group: 64,
            local: { kernel: 'softmax', scale: 'learned' },
            convolution: { kernel: 7, masked: true },
            castling: true,
            normalize: 'together',
          },
        },
      ],
    });
    const { model } = await loadCausalModel(out);
    expect(reported.mixers).toMatchObject([{ config: model.mixers[1] }]);
  });

  it.each([
    [
      'performer',
      ['--features', '24', '--seed', '7'],
      { kind: 'features', map: { name: 'performer', features: 24, seed: 7 } },
    ],
    ['hedgehog', [], { kind: 'features', map: { name: 'hedgehog' }, output: 'ratio' }],
    ['yoso', ['--bits', '4'], { kind: 'yoso', bits: 4 }],
    [
      'yoso-hashed',
      ['--bits', '3', '--hashes', '4'],
      { kind: 'features', map: { name: 'hashes', hashes: 4, bits: 3 } },
    ],
    ['linformer', ['--rows', '4', '--block', '16'], { kind: 'block-linformer', rows: 4, block: 16 }],
    ['linformer-bidirectional', ['--rows', '16', '--length', '128'], { kind: 'linformer', rows: 16, length: 128 }],
  ])('sizes %s and gives it a convolution', async (mixer, sizes, config) => {
    const out = join(folder, mixer);
    const reported = await runJson(
      'linearize',
      base,
      '--mixer',
      mixer,
      ...sizes,
      '--convolution',
      '--kernel',
      '7',
      '--out',
      out,
    );
    expect(reported.mixers).toMatchObject([{ config: { ...config, convolution: { kernel: 7, masked: true } } }]);
    const { model } = await loadCausalModel(out);
    expect(reported.mixers).toMatchObject([{ config: model.mixers[1] }]);
    const generated = await linnet('generate', out, '--prompt', 'once', '--max-tokens', '3');
    expect(generated.exitCode).toBe(mixer === 'linformer-bidirectional' ? 3 : 0);
  });

  it('saves in the type asked for and replaces only on request', async () => {
    const out = join(folder, 'halves');
    const words = ['linearize', base, '--mixer', 'local', '--out', out];
    await runJson(...words, '--dtype', 'BF16');
    expect(await runJson('inspect', out)).toMatchObject({ weights: { types: ['BF16'] } });
    const refused = await linnet(...words);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain(out);
    await runJson(...words, '--replace');
    expect(await runJson('inspect', out)).toMatchObject({ weights: { types: ['F32'] } });
  });

  it.each([
    [['--mixer', 'linear'], 2, '--mixer is "linear"; expected one of softmax, '],
    [['--mixer', 'augmented', '--kernel', '4'], 2, 'odd'],
    [['--mixer', 'augmented', '--group', '0'], 2, '--group is "0"; expected a whole number from 1'],
    [['--mixer', 'augmented', '--layers', '0-9'], 3, 'there is no layer 2'],
    [['--mixer', 'augmented', '--layers', 'all'], 2, 'such as 0-3,5'],
    [['--mixer', 'softmax', '--convolution'], 2, 'the mixer softmax does not take --convolution; it takes no options'],
    [
      ['--mixer', 'relu', '--convolution', '--castling'],
      2,
      'the mixer relu does not take --castling; it takes --group, --convolution, --kernel, --unmasked',
    ],
    [['--mixer', 'linformer', '--group', '8'], 2, 'the mixer linformer does not take --group; it takes '],
    [['--mixer', 'local', '--castling'], 2, 'castling is defined together with a convolution'],
    [['--mixer', 'global', '--lambda'], 2, 'the mixer global does not take --lambda; it takes '],
    [['--mixer', 'local', '--normalize', 'global'], 2, "normalize 'global' needs a global branch"],
    [
      ['--mixer', 'softmax', '--normalize', 'together'],
      2,
      'the mixer softmax does not take --normalize; it takes no options',
    ],
  ])('refuses %j', async (words, exitCode, message) => {
    const result = await linnet('linearize', base, ...words, '--out', join(folder, 'refused'), '--json');
    expect(result.exitCode).toBe(exitCode);
    expect(errorOf(result).message).toContain(message);
    expect((await linnet('inspect', join(folder, 'refused'))).exitCode).toBe(3);
  });
});
