/** `linnet synth`: a folder of a published size that opens, decodes, and is the same for the same seed. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadTokenizer } from '../../src/tokenizer/tokenizer.ts';
import { runCaptured, runJson } from './captured-cli.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { openReady } from '../open/ready-model.ts';

const place = suiteFolder();

it('writes an exported model that decodes, the same for the same seed', async () => {
  const out = join(place, 'gpt2');
  const words = ['synth', '--like', 'gpt2', '--dtype', 'int4'];
  expect(await runJson(...words, '--out', out)).toMatchObject({ like: 'gpt2', mixer: 'augmented', dtype: 'int4' });
  await using opened = await openReady(out, { threads: 1 });
  expect(opened.model.mixers.every(({ kind }) => kind === 'linear')).toBe(true);
  const { logits } = await opened.engine.advance(opened.engine.newState(), 65);
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(new Set(logits).size).toBeGreaterThan(1000);
  expect([...(await loadTokenizer(out)).encode('A')]).toEqual([65]);

  const again = join(place, 'again');
  await runJson(...words, '--out', again);
  const files = (folder: string) => readFile(join(folder, 'linnet.json'), 'utf8');
  expect(await files(again)).toBe(await files(out)); // checksums of all weights
});

it('writes both sets of weights of type mixed', async () => {
  const out = join(place, 'mixed');
  const written = await runJson('synth', '--like', 'gpt2', '--dtype', 'mixed', '--block', '128', '--out', out);
  await using opened = await openReady(out, { threads: 1 });
  expect(opened.manifest?.block).toBe(128);
  expect(written.weightBytes).toBe((opened.manifest?.weightBytes ?? 0) + (opened.manifest?.prompt?.weightBytes ?? 0));
  const { logits } = await opened.engine.prefill(opened.engine.newState(), [72, 105]);
  expect(logits.every(Number.isFinite)).toBe(true);
  expect(new Set(logits).size).toBeGreaterThan(1000);
});

it('refuses a checkpoint in a type that checkpoints do not have, and writes nothing', async () => {
  const words = ['synth', '--like', 'gpt2', '--dtype', 'int4', '--format', 'checkpoint'];
  const run = await runCaptured([...words, '--out', join(place, 'refused')]);
  expect(run.exitCode).not.toBe(0);
  expect(run.stderr).toContain('f32 or f16');
  expect(await readdir(place)).not.toContain('refused');
});
