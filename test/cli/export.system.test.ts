/** `linnet export` and the commands that take an exported folder, on a tiny model. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { errorReportSchema } from '../../src/export/manifest.ts';
import { type CapturedRun, errorOf, lastJson, linnet, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { saveTinyModel } from '../models/tiny-model.ts';

const place = suiteFolder();
const base = join(place, 'base');
const text = join(place, 'text.txt');
beforeAll(async () => {
  await saveTinyModel(base);
  await writeFile(text, 'It was a dark and stormy night; the rain fell in torrents. '.repeat(8));
});

async function exported(dtype: string, ...options: string[]): Promise<{ out: string; result: CapturedRun }> {
  const out = join(place, dtype);
  const result = await linnet('export', base, '--dtype', dtype, '--out', out, '--replace', ...options);
  return { out, result };
}

const exportJson = z.object({ out: z.string(), dtype: z.string(), bytes: z.int(), report: errorReportSchema });

describe('linnet export', () => {
  it('says what it wrote, and notes the error of each matrix in linnet.json', async () => {
    const { out, result } = await exported('w8a8', '--json');
    expect(result.exitCode).toBe(0);
    const { report, bytes } = exportJson.parse(lastJson(result));
    expect(bytes).toBeGreaterThan(10_000);
    expect(Object.keys(report.weights)).toContain('model.layers.1.mlp.down_proj.weight');
    const noted = z
      .object({ report: errorReportSchema })
      .parse(JSON.parse(await readFile(join(out, 'linnet.json'), 'utf8')));
    expect(noted.report).toEqual(report);
  });

  it('refuses a folder that exists, an unknown type, and models that do not decode', async () => {
    const { out } = await exported('f32');
    expect((await linnet('export', base, '--dtype', 'f32', '--out', out)).exitCode).toBe(3);
    expect((await linnet('export', base, '--dtype', 'int3', '--out', join(place, 'x'))).exitCode).toBe(2);
    const bert = join(place, 'bert');
    await saveTinyModel(bert, 1, 'bert');
    const refused = await linnet('export', bert, '--dtype', 'f32', '--out', join(place, 'x'));
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(/causal language model/);
  });
});

describe('an exported folder', () => {
  it('generates what the model generates, sequentially and with lookup', async () => {
    const { out } = await exported('f32');
    const words = ['--prompt', 'the rain fell, the rain', '--max-tokens', '24', '--ignore-eos'];
    const { tokens } = await runJson('generate', base, ...words);
    expect((await runJson('generate', out, ...words)).tokens).toEqual(tokens);
    expect((await runJson('generate', out, ...words, '--speculate', 'lookup')).tokens).toEqual(tokens);
  });

  it('continues a session, its own only', async () => {
    const { out } = await exported('f32');
    const session = join(place, 'talk.session');
    const words = ['--max-tokens', '6', '--ignore-eos', '--session', session, '--json'];
    expect((await linnet('generate', out, '--prompt', 'the rain', ...words)).exitCode).toBe(0);
    expect((await linnet('generate', out, '--prompt', ' fell', ...words)).exitCode).toBe(0);
    const other = await linnet('generate', base, '--prompt', ' fell', ...words);
    expect(other.exitCode).toBe(3);
    expect(lastJson(other)).toMatchObject({ error: { code: 'MISMATCH' } });
  });

  it('has the perplexity of the model', async () => {
    const { out } = await exported('f32');
    const words = ['--data', text, '--length', '50', '--stride', '17'];
    const expected = z.object({ nll: z.number(), tokens: z.int() });
    const model = expected.parse(await runJson('eval', 'perplexity', base, ...words));
    const stored = expected.parse(await runJson('eval', 'perplexity', out, ...words));
    expect(stored.tokens).toBe(model.tokens);
    expect(stored.nll).toBeCloseTo(model.nll, 5);
  });

  it('of type mixed keeps its prompt weights apart in what commands say', async () => {
    const { out, result } = await exported('mixed', '--block', '64');
    expect(result.stdout).toMatch(
      /: int4 in blocks of 64 for cpu, weights [\d.]+ KiB\nprompts are read with w8a8, weights /,
    );
    const { weightBytes, prompt } = z
      .object({ weightBytes: z.int(), prompt: z.object({ weightBytes: z.int() }) })
      .parse(JSON.parse(await readFile(join(out, 'linnet.json'), 'utf8')));
    expect(prompt.weightBytes).toBeGreaterThan(weightBytes);
    const described = await runJson('inspect', out, '--verify');
    expect(described.weights).toEqual({ bytes: weightBytes + prompt.weightBytes, types: ['int4', 'w8a8'] });
    expect(described.export).toMatchObject({ dtype: 'mixed', prompt });
    expect((await linnet('inspect', out)).stdout).toMatch(/prompts +read with w8a8, [\d.]+ KiB; all else with int4/);

    const int4 = (await exported('int4', '--block', '64')).out;
    const words = ['--data', text, '--length', '50'];
    const scoresOf = async (folder: string) => {
      const { memoryBytes: _, ...scores } = await runJson('eval', 'perplexity', folder, ...words);
      return scores;
    };
    expect(await scoresOf(out)).toEqual(await scoresOf(int4));
    const decode = ['--context', '16', '--steps', '4', '--threads', '1'];
    const rows = z.object({ rows: z.array(z.object({ weightBytesPerToken: z.number() })) });
    expect(rows.parse(await runJson('bench', 'decode', out, ...decode)).rows[0].weightBytesPerToken).toBe(
      rows.parse(await runJson('bench', 'decode', int4, ...decode)).rows[0].weightBytesPerToken,
    );

    const session = join(place, 'mixed.session');
    const talk = ['--max-tokens', '6', '--ignore-eos', '--session', session, '--speculate', 'lookup'];
    expect((await linnet('generate', out, '--prompt', 'the rain', ...talk)).exitCode).toBe(0);
    expect((await linnet('generate', out, '--prompt', ' fell', ...talk)).exitCode).toBe(0);
    expect(errorOf(await linnet('generate', int4, '--prompt', ' fell', ...talk, '--json')).code).toBe('MISMATCH');
    expect((await linnet('export', base, '--dtype', 'w8a8', '--block', '64', '--out', join(place, 'x'))).exitCode).toBe(
      2,
    );
    const gpu = ['--dtype', 'mixed', '--device', 'webgpu', '--out', join(place, 'x')];
    expect((await linnet('export', base, ...gpu)).exitCode).toBe(3);
  });

  it('is inspected, and verified', async () => {
    const { out } = await exported('int4');
    expect(await runJson('inspect', out, '--verify')).toMatchObject({
      family: 'llama',
      weights: { types: ['int4'] },
      export: { device: 'cpu' },
    });
    expect((await linnet('inspect', out)).stdout).toMatch(/exported +for cpu/);
    await writeFile(join(out, 'model.onnx'), 'damaged');
    expect((await linnet('inspect', out)).exitCode).toBe(3);
    expect((await linnet('inspect', base, '--verify')).exitCode).toBe(2);
  });
});
