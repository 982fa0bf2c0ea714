/**
 * The first token of a second turn after a restart, and a fork of one text, in Linnet and in llama.cpp with the same shape; with
 * --transformers also the first token in transformers.js, which saves no state and rereads everything. Each
 * figure comes from a new process, in alternation: one reads the text and saves its state, another resumes the turn from the
 * file, a third rereads everything. The clock starts after the model is open.
 *
 *   node --import tsx bench/peers/restart.ts [--shape lfm2-350m] [--history 2048] [--turn 32] [--rounds 3] [--transformers] [--json]
 */
import { mkdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { fixed } from '../../src/report/quantities.ts';
import { makeTable, textTable } from '../../src/report/table.ts';
import { runTypeScript } from './linnet.ts';
import { type Measurement, type MeasurementOptions, median } from './measurement.ts';
import type { RestartOptions, RestartResult } from './restarted.ts';
import { exportName, madeOnce, peerShape } from './shapes.ts';

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'lfm2-350m' },
    dtype: { type: 'string', default: 'int4' },
    peer: { type: 'string', default: 'q4_0' },
    history: { type: 'string', default: '2048' },
    turn: { type: 'string', default: '32' },
    streams: { type: 'string', default: '16' },
    steps: { type: 'string', default: '8' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    data: { type: 'string', default: join(tmpdir(), 'linnet-peers') },
    transformers: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const { peer } = values;
const dtype = exportName(values.dtype);
if (peer !== 'q8_0' && peer !== 'q4_0') throw new Error(`unknown peer "${peer}"; known are q8_0 and q4_0`);
const folder = resolve(values.data, values.shape);
await mkdir(folder, { recursive: true });
const [history, turn, streams, steps, threads] = [
  values.history,
  values.turn,
  values.streams,
  values.steps,
  values.threads,
].map(Number);

const shape = peerShape(values.shape);
type Engine = RestartOptions['engine'];
const models: Readonly<Record<Engine, string>> = {
  linnet: await madeOnce(join(folder, `linnet-${dtype}`), (path) => shape.writeExport(path, dtype)),
  'llama.cpp': await madeOnce(join(folder, `${peer}.gguf`), (path) => shape.writeGguf(path, peer)),
};

const onnx = values.transformers ? await madeOnce(join(folder, 'onnx-q4'), (path) => shape.writeOnnx(path)) : undefined;

const script = fileURLToPath(new URL('restarted.ts', import.meta.url));
async function measure(engine: Engine, way: RestartOptions['way']): Promise<RestartResult> {
  const file = join(folder, `${engine}.state`);
  const options: RestartOptions = {
    ...{ engine, way, file, history, turn, streams, steps, threads, model: models[engine] },
  };
  process.stderr.write(`${engine}: ${way}\n`);
  const printed = await runTypeScript(script, [JSON.stringify(options)]);
  return JSON.parse(printed.trim().split('\n').at(-1) ?? '') as RestartResult;
}

/** One round in milliseconds and bytes. */
interface Round {
  readonly resume: number;
  readonly reread: number;
  readonly fork: number;
  readonly stateBytes: number;
  readonly peakMemoryBytes: number;
}
async function oneRound(engine: Engine): Promise<Round> {
  await measure(engine, 'save');
  const file = join(folder, `${engine}.state`);
  const { size: stateBytes } = await stat(file);
  const resumed = await measure(engine, 'resume');
  const [reread, fork] = [await measure(engine, 'reread'), await measure(engine, 'fork')];
  await rm(file);
  const ms = ({ wall = Number.NaN }: RestartResult): number => wall;
  const { peakMemoryBytes } = resumed;
  return { resume: ms(resumed), reread: ms(reread), fork: ms(fork), stateBytes, peakMemoryBytes };
}

/** Milliseconds until transformers.js has read the history and the turn. */
async function readByTransformers(model: string): Promise<number> {
  const length = history + turn;
  const options: MeasurementOptions = { model, contexts: [], prompts: [length], threads, steps: 1 };
  process.stderr.write('transformers.js: reread\n');
  const program = fileURLToPath(new URL('transformers-js.ts', import.meta.url));
  const printed = await runTypeScript(program, [JSON.stringify(options)]);
  const { prefill } = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as Measurement;
  return (1000 * length) / prefill[length];
}

const overTransformers: number[] = [];
const rounds: Record<Engine, Round>[] = [];
for (let done = 0; done < Number(values.rounds); done++) {
  const round = { linnet: await oneRound('linnet'), 'llama.cpp': await oneRound('llama.cpp') };
  rounds.push(round);
  if (onnx !== undefined) overTransformers.push((await readByTransformers(onnx)) / round.linnet.resume);
}
interface Row {
  readonly what: string;
  readonly key: keyof Round;
  readonly per: number;
}
const rows: Row[] = [
  { what: 'first token of turn 2 from the saved state, ms', key: 'resume', per: 1 },
  { what: 'first token of turn 2, all read again, ms', key: 'reread', per: 1 },
  { what: `${streams} copies of one text and ${steps + 1} tokens of each, ms`, key: 'fork', per: 1 },
  { what: 'saved state, MiB', key: 'stateBytes', per: 2 ** 20 },
  { what: 'memory at the peak of turn 2, MiB', key: 'peakMemoryBytes', per: 2 ** 20 },
];
const of = (name: Engine, { key, per }: Row): number => median(rounds.map((round) => round[name][key])) / per;
const ratio = ({ key }: Row): number => median(rounds.map((round) => round['llama.cpp'][key] / round.linnet[key]));
const rereadOverSession = median(rounds.map((round) => round['llama.cpp'].reread / round.linnet.resume));
if (values.json) console.log(JSON.stringify({ ...values, rounds, rereadOverSession, overTransformers }));
else {
  const table = makeTable<Row>(
    [
      { header: 'after a restart', value: 'what' },
      { header: `Linnet ${dtype}`, value: (row) => of('linnet', row), format: fixed(1) },
      { header: `llama.cpp ${peer}`, value: (row) => of('llama.cpp', row), format: fixed(1) },
      { header: 'llama.cpp / Linnet', value: ratio, format: fixed(2) },
    ],
    rows,
  );
  console.log(`${values.shape}, ${history} history tokens, ${turn} in the turn\n${textTable(table)}`);
  console.log(`rereading in llama.cpp takes ${rereadOverSession.toFixed(1)} times as long as resuming in Linnet`);
  if (onnx !== undefined) console.log(`transformers.js takes ${median(overTransformers).toFixed(1)} times as long`);
}
