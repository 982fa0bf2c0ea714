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
  const result = await linnet('export', base, '--dtype', dtype, '--out', out, '--data', text, '--replace', ...options);
  return { out, result };
}

const exportJson = z.object({ out: z.string(), dtype: z.string(), bytes: z.int(), report: errorReportSchema });

describe('linnet export', () => {
  it('says what it wrote and what it costs, and notes it in linnet.json', async () => {
    const { out, result } = await exported('w8a8', '--json');
    expect(result.exitCode).toBe(0);
    const { report, bytes } = exportJson.parse(lastJson(result));
    expect(report.outputs?.tokens).toBeGreaterThan(100);
    expect(report.outputs?.maxLogit).toBeGreaterThan(0);
    const ratio = (report.outputs?.perplexity.exported ?? 0) / (report.outputs?.perplexity.float32 ?? 1);
    expect(Math.abs(Math.log(ratio))).toBeLessThan(0.2);
    expect(bytes).toBeGreaterThan(10_000);
    expect(report.layers).toHaveLength(2);
    expect(report.layers?.every(({ max, mean }) => mean > 0 && mean < max && max < 1)).toBe(true);
    expect(report.layerTokens).toBeGreaterThan(100);
    const noted = z
      .object({ report: errorReportSchema })
      .parse(JSON.parse(await readFile(join(out, 'linnet.json'), 'utf8')));
    expect(noted.report).toEqual(report);
  });

  it('prints tables of the matrices and of the layers for people', async () => {
    const { result } = await exported('int4', '--set', 'tokens=40', '--set', 'verbose');
    expect(result.stdout).toMatch(/matrix +largest error \(% of peak\) +rms error/);
    expect(result.stdout).toMatch(/model\.layers\.1\.mlp\.down_proj\.weight +\d/);
    expect(result.stdout).toMatch(/hidden states after every layer, over the first 40 tokens:/);
    expect(result.stdout).toMatch(
      /layer +mean difference \(% of rms\) +largest[^\n]*\n[─ ]+\n +0 +[\d.]+ +[\d.]+[^\n]*\n +1 /,
    );
    expect(result.stdout).toMatch(/perplexity [\d.,]+, in float32 [\d.,]+/);
  });

  it('says one line of the cost without --set verbose', async () => {
    const { result } = await exported('int4', '--set', 'tokens=40');
    expect(result.stdout.trim().split('\n')).toHaveLength(2);
    expect(result.stdout).toMatch(
      /\nperplexity [\d.,]+, in float32 [\d.,]+ \([−\d.]+ %\), on 39 tokens of .*text\.txt;/,
    );
  });

  it('compares on text of the model itself where none is given, and says so', async () => {
    const out = join(place, 'own');
    const words = ['--dtype', 'int4', '--out', out, '--set', 'tokens=60', '--replace'];
    const people = await linnet('export', base, ...words);
    expect(people.stdout).toMatch(/on \d+ tokens of text that the model generated itself;/);
    const first = exportJson.parse(await runJson('export', base, ...words)).report;
    expect(first.outputs?.text).toBe('text that the model generated itself');
    expect(first.outputs?.tokens).toBeGreaterThan(20);
    // What a model samples at temperature 1 it cannot predict better in fewer bits, but for noise.
    const { exported: stored = 0, float32 = 1 } = first.outputs?.perplexity ?? {};
    expect(stored / float32).toBeGreaterThan(0.95);
    expect(exportJson.parse(await runJson('export', base, ...words)).report).toEqual(first);
    expect((await linnet('inspect', out)).stdout).toMatch(
      /cost +perplexity .* tokens of text that the model generated itself/,
    );
  });

  it('can leave the comparison out', async () => {
    const { result } = await exported('f16', '--set', 'skipReport', '--json');
    const { report } = exportJson.parse(lastJson(result));
    expect(report).toMatchObject({ note: 'outputs and layers were not compared: --set skipReport' });
    expect(report.outputs ?? report.layers).toBeUndefined();
  });

  it('refuses a folder that exists, an unknown type, and models that do not decode', async () => {
    const { out } = await exported('f32', '--set', 'skipReport');
    expect((await linnet('export', base, '--dtype', 'f32', '--out', out, '--set', 'skipReport')).exitCode).toBe(3);
    expect((await linnet('export', base, '--dtype', 'int3', '--out', join(place, 'x'))).exitCode).toBe(2);
    const bert = join(place, 'bert');
    await saveTinyModel(bert, 1, 'bert');
    const refused = await linnet('export', bert, '--dtype', 'f32', '--out', join(place, 'x'), '--set', 'skipReport');
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(/causal language model/);
  });
});

describe('an exported folder', () => {
  it('generates what the model generates, sequentially and with lookup', async () => {
    const { out } = await exported('f32', '--set', 'skipReport');
    const words = ['--prompt', 'the rain fell, the rain', '--max-tokens', '24', '--set', 'ignoreEos'];
    const { tokens } = await runJson('generate', base, ...words);
    expect((await runJson('generate', out, ...words)).tokens).toEqual(tokens);
    expect((await runJson('generate', out, ...words, '--speculate', 'lookup')).tokens).toEqual(tokens);
  });

  it('continues a session, its own only', async () => {
    const { out } = await exported('f32', '--set', 'skipReport');
    const session = join(place, 'talk.session');
    const words = ['--max-tokens', '6', '--set', 'ignoreEos', '--session', session, '--json'];
    expect((await linnet('generate', out, '--prompt', 'the rain', ...words)).exitCode).toBe(0);
    expect((await linnet('generate', out, '--prompt', ' fell', ...words)).exitCode).toBe(0);
    const other = await linnet('generate', base, '--prompt', ' fell', ...words);
    expect(other.exitCode).toBe(3);
    expect(lastJson(other)).toMatchObject({ error: { code: 'MISMATCH' } });
  });

  it('has the perplexity of the model', async () => {
    const { out } = await exported('f32', '--set', 'skipReport');
    const words = ['--data', text, '--length', '50', '--set', 'stride=17'];
    const expected = z.object({ nll: z.number(), tokens: z.int() });
    const model = expected.parse(await runJson('eval', 'perplexity', base, ...words));
    const stored = expected.parse(await runJson('eval', 'perplexity', out, ...words));
    expect(stored.tokens).toBe(model.tokens);
    expect(stored.nll).toBeCloseTo(model.nll, 5);
  });

  it('of type mixed keeps its prompt weights apart in what commands say', async () => {
    const { out, result } = await exported('mixed', '--block', '64', '--set', 'tokens=40');
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

    const int4 = (await exported('int4', '--block', '64', '--set', 'skipReport')).out;
    const words = ['--data', text, '--length', '50'];
    expect(await runJson('eval', 'perplexity', out, ...words)).toEqual(
      await runJson('eval', 'perplexity', int4, ...words),
    );
    const decode = ['--context', '16', '--steps', '4', '--threads', '1'];
    const rows = z.object({ rows: z.array(z.object({ weightBytesPerToken: z.number() })) });
    expect(rows.parse(await runJson('bench', 'decode', out, ...decode)).rows[0].weightBytesPerToken).toBe(
      rows.parse(await runJson('bench', 'decode', int4, ...decode)).rows[0].weightBytesPerToken,
    );

    const session = join(place, 'mixed.session');
    const talk = ['--max-tokens', '6', '--set', 'ignoreEos', '--session', session, '--speculate', 'lookup'];
    expect((await linnet('generate', out, '--prompt', 'the rain', ...talk)).exitCode).toBe(0);
    expect((await linnet('generate', out, '--prompt', ' fell', ...talk)).exitCode).toBe(0);
    expect(errorOf(await linnet('generate', int4, '--prompt', ' fell', ...talk, '--json')).code).toBe('MISMATCH');
    expect((await linnet('export', base, '--dtype', 'w8a8', '--block', '64', '--out', join(place, 'x'))).exitCode).toBe(
      2,
    );
    const gpu = ['--dtype', 'mixed', '--device', 'webgpu', '--out', join(place, 'x'), '--set', 'skipReport'];
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
