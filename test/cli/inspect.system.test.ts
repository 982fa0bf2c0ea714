/** What `linnet inspect` and `linnet check` tell of a model. */
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { lastJson, linnet, runJson } from './captured-cli.ts';
import { linearizedModels } from '../models/linearized-models.ts';
import { scratchFolder } from '../scratch-folder.ts';

const jsonObject = z.record(z.string(), z.unknown());

const { base, augmented, hybrid, leaking } = linearizedModels();

describe('inspect', () => {
  it('tells sizes, mixers and memory', async () => {
    const softmax = await runJson('inspect', base);
    expect(softmax).toMatchObject({
      family: 'llama',
      mixerParameters: 0,
      stateBytes: 0,
      // 2 layers · keys and values · 1 head of width 8 · 4 bytes
      stateBytesPerToken: 128,
      kvCacheBytes: { '4096': 128 * 4096, '32768': 128 * 32768, '131072': 128 * 131072 },
      stateBytesAt: { '4096': 128 * 4096 },
      tokenizer: { vocabulary: 258, bos: 256, eos: 257 },
    });
    const { parameters } = await loadCausalModel(base);
    const numbers = [...parameters.values()].reduce((total, { data }) => total + data.length, 0);
    expect(softmax.parameters).toBe(numbers);
    expect(softmax.mixers).toMatchObject([{ layers: [0, 1], config: { kind: 'softmax' } }]);
  });

  it('tells how the bytes of a layer come about', async () => {
    expect((await runJson('inspect', base)).stateFormula).toMatch(/L tokens[^\n]*\n {2}0–1: 4·1·\(L·\(8\+8\)\)$/);
    const { stateFormula, stateBytes } = await runJson('inspect', augmented);
    const numbers = /: 4·(\d+)·\((\d+)·\((\d+)\+(\d+)\) \+ (\d+)·(\d+)\)$/
      .exec(String(stateFormula))
      ?.slice(1)
      .map(Number);
    const [heads, rows, key, value, features, columns] = numbers ?? [];
    expect(2 * 4 * heads * (rows * (key + value) + features * columns)).toBe(stateBytes);
  });

  it('tells the size that sessions really have', async () => {
    const { model, parameters } = await loadCausalModel(augmented);
    const engine = await DecodingEngine.create(model, parameters);
    try {
      const reported = await runJson('inspect', augmented);
      const state = engine.newState();
      await engine.prefill(state, [1, 2, 3, 4, 5, 6, 7]);
      expect(reported).toMatchObject({ stateBytes: state.bytes, stateBytesPerToken: 0 });
      expect(reported.stateBytesAt).toEqual({ '4096': state.bytes, '32768': state.bytes, '131072': state.bytes });
    } finally {
      await engine.dispose();
    }
  });

  it('splits hybrids into runs, and tells a model without state', async () => {
    const reported = await runJson('inspect', hybrid);
    expect(reported.mixers).toMatchObject([{ layers: [0, 0] }, { layers: [1, 1], config: { kind: 'linear' } }]);
    expect(reported.stateBytesPerToken).toBe(64);
    expect(await runJson('inspect', leaking)).toMatchObject({ stateBytes: null, kvCacheBytes: null });
    expect((await linnet('inspect', leaking)).stdout).toContain('cannot decode');
  });

  it('names fields that nothing reads, and leaves out those that it is told to', async () => {
    const folder = await scratchFolder();
    const path = join(folder, 'model');
    await cp(base, path, { recursive: true });
    const config: unknown = JSON.parse(await readFile(join(path, 'config.json'), 'utf8'));
    const fields = { ...jsonObject.parse(config), trained_by: 'us', rope_jitter: 2 };
    await writeFile(join(path, 'config.json'), JSON.stringify(fields));
    const refused = await linnet('inspect', path);
    expect(refused.stderr).toContain('unknown: "rope_jitter" (positions)');
    const ignoring = ['--ignore', 'rope_jitter'];
    expect(await runJson('inspect', path, ...ignoring)).toMatchObject({ unknownFields: ['trained_by'] });
    expect((await linnet('inspect', path, ...ignoring)).stdout).toContain('"trained_by" of config.json');
    const written = join(folder, 'written');
    expect((await linnet('linearize', path, '--mixer', 'augmented', '--out', written, ...ignoring)).exitCode).toBe(0);
    expect(await runJson('inspect', written)).toMatchObject({ unknownFields: ['trained_by'] });
  });

  it('prints for people', async () => {
    const { stdout, exitCode } = await linnet('inspect', hybrid);
    expect(exitCode).toBe(0);
    for (const part of [
      'local softmax + α·global fading by 0.5 + convolution 5, G = 4',
      '128K',
      '1: 4·1·(32·(8+8) + 8·8)',
    ]) {
      expect(stdout).toContain(part);
    }
  });
});

describe('check', () => {
  it('passes a model that reads no future', async () => {
    const reported = await runJson('check', augmented);
    expect(reported.leak).toBe(false);
    expect(reported.maxError).toBeLessThan(1e-4);
    expect(Array.isArray(reported.rows) && reported.rows.length > 10).toBe(true);
  });

  it('fails one that does', async () => {
    const result = await linnet('check', leaking, '--json');
    expect(result.exitCode).toBe(1);
    expect(lastJson(result)).toMatchObject({ leak: true, ok: false });
    expect((await linnet('check', leaking)).stdout).toContain('The model reads the future');
  });
});
