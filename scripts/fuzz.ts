/**
 * Hostile input for every reader of files and requests: `npx tsx scripts/fuzz.ts --inputs 1000000 --seed 1`, or `--seconds 45`
 * for as many as fit, including preparation. Every reader gets about the same time. A failure names the seed and number to repeat it (`--reader NAME
 * --first NUMBER --inputs 1`). Exits with code 1 on a failure, or if an input takes longer than two minutes.
 */
import { existsSync, mkdtempSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { fuzz, type FuzzCounts } from '../test/fuzz/reader.ts';
import { openReaders } from '../test/fuzz/readers.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    reader: { type: 'string' },
    skip: { type: 'string', default: '0' },
    json: { type: 'boolean', default: false },
  },
});
const total = Number(values.inputs ?? (values.seconds === undefined ? 1_000_000 : Infinity));
/** When to stop, by `performance.now()`, which counts from the process start. */
const end = values.seconds === undefined ? Infinity : 1000 * Number(values.seconds);
if (Number.isNaN(total) || Number.isNaN(end)) throw new Error('--inputs and --seconds are numbers');
const seed = Number(values.seed);
const first = Number(values.first);

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'linnet-fuzz-'));
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});

/** Current work, for the watching thread: reader, number, and a change counter. */
const underWay = new Int32Array(new SharedArrayBuffer(12));
const watcher = new Worker(
  `const { workerData: { view, patience, pid } } = require('node:worker_threads');
   const { writeSync } = require('node:fs');
   let seen = -1;
   setInterval(() => {
     if (view[2] === seen && view[1] >= 0) {
       writeSync(2, 'reader ' + view[0] + ', input ' + view[1] + ' takes longer than ' + patience + ' s\\n');
       process.kill(pid, 'SIGKILL');
     }
     seen = view[2];
   }, patience * 1000);`,
  { eval: true, workerData: { view: underWay, patience: 120, pid: process.pid } },
);
watcher.unref();

await using open = await openReaders(folder);
const chosen = open.readers.filter(({ name }) => values.reader === undefined || name === values.reader);
const shares = chosen.reduce((sum, { cost }) => sum + 1 / cost, 0);
const extent = values.seconds === undefined ? `${total} inputs` : `${values.seconds} s`;
console.log(`seed ${seed}, ${extent} for ${chosen.length} readers`);
/** Unhandled failures of work that a reader left behind. */
const unheard: string[] = [];
process.on('unhandledRejection', (error) => {
  unheard.push(`reader ${underWay[0]}, input ${underWay[1]}: unhandled ${String(error)}`);
});
const rows: (FuzzCounts & { reader: string; seconds: number })[] = [];
for (const [index, reader] of chosen.entries()) {
  if (index < Number(values.skip)) continue; // already done by a stopped run
  const count = Math.max(1, Math.ceil(total / reader.cost / shares));
  const started = performance.now();
  const counts = await fuzz(reader, {
    ...{ seed, count, first, until: started + (end - started) / (chosen.length - index) },
    onInput(number) {
      underWay[0] = index;
      underWay[1] = number;
      underWay[2]++;
    },
  });
  const seconds = (performance.now() - started) / 1000;
  rows.push({ reader: reader.name, seconds, ...counts });
  const { inputs, accepted, refused, failures, longest } = counts;
  const line = [
    reader.name.padEnd(32),
    inputs,
    `accepted ${accepted}`,
    `refused ${refused}`,
    `${seconds.toFixed(1)} s`,
    `slowest ${Math.ceil(longest)} ms`,
  ];
  console.log(line.join('  '));
  for (const failure of [...failures, ...unheard]) console.log(`  ${failure}`);
}
const sum = (of: (row: FuzzCounts) => number): number => rows.reduce((all, row) => all + of(row), 0);
const failed = sum(({ failures }) => failures.length) + unheard.length;
const peak = Math.round(process.resourceUsage().maxRSS / 1024);
console.log(
  `${sum(({ inputs }) => inputs)} inputs: ${sum(({ accepted }) => accepted)} accepted, ` +
    `${sum(({ refused }) => refused)} refused, ${failed} failures; at most ${peak} MiB`,
);
if (values.json) writeSync(1, `${JSON.stringify({ seed, rows })}\n`);
underWay[1] = -1;
await watcher.terminate();
process.exitCode = failed > 0 ? 1 : 0;
