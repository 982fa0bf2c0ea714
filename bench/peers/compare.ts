/**
 * Runs one shape in several engines in alternation and prints their speeds and the ratios within each turn: see
 * README.md next to this file.
 */
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { makeTable, textTable } from '../../src/report/table.ts';
import { measureLinnet, runTypeScript } from './linnet.ts';
import { type Measurement, type MeasurementOptions, median } from './measurement.ts';
import { exportNames, madeOnce, peerShape } from './shapes.ts';

/** A measured engine: the model's path, how to make it, how to run it. */
interface Subject {
  readonly model: string;
  readonly make: (path: string) => Promise<unknown>;
  readonly measure: (name: string, options: MeasurementOptions) => Promise<Measurement>;
}

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'tinyllama-1.1b' },
    subjects: {
      type: 'string',
      default: 'linnet-int4,linnet-int4-128,linnet-w8a8,llama.cpp-q4_0,llama.cpp-q8_0,transformers.js-q4',
    },
    context: { type: 'string', default: '64,1024,4096' },
    prompts: { type: 'string', default: '1024,4096' },
    steps: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
    data: { type: 'string', default: join(tmpdir(), 'linnet-peers') },
    json: { type: 'boolean', default: false },
    'make-only': { type: 'boolean', default: false },
  },
});

const shape = peerShape(values.shape);
const folder = resolve(values.data, values.shape);

/** Another engine, in its own process. */
function other(script: string): Subject['measure'] {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return async (name, options) => {
    const printed = await runTypeScript(path, [JSON.stringify(options)]);
    const last = printed.trim().split('\n').at(-1) ?? '';
    return { ...(JSON.parse(last) as Measurement), engine: name };
  };
}

const subjects: Readonly<Record<string, Subject>> = {
  ...Object.fromEntries(
    exportNames.map((dtype): [string, Subject] => {
      const name = `linnet-${dtype}`;
      return [name, { model: name, make: (path) => shape.writeExport(path, dtype), measure: measureLinnet }];
    }),
  ),
  ...Object.fromEntries(
    (['q4_0', 'q8_0', 'q4_k_m'] as const).flatMap((type): [string, Subject][] => {
      const file = { model: `${type}.gguf`, make: (path: string) => shape.writeGguf(path, type) };
      return [
        [`llama.cpp-${type}`, { ...file, measure: other('llama-cpp.ts') }],
        // The file as it is, and with the augmented mixer instead of softmax.
        [`linnet-gguf-${type}`, { ...file, measure: (name, options) => measureLinnet(name, options) }],
        [`linnet-linear-${type}`, { ...file, measure: (name, options) => measureLinnet(name, options, 'augmented') }],
      ];
    }),
  ),
  'transformers.js-q4': {
    model: 'onnx-q4',
    make: (path) => shape.writeOnnx(path),
    measure: other('transformers-js.ts'),
  },
};

const names = values.subjects.split(',');
for (const name of names) {
  if (!Object.hasOwn(subjects, name)) {
    throw new Error(`unknown subject "${name}"; known are ${Object.keys(subjects).join(', ')}`);
  }
}
await mkdir(folder, { recursive: true });
for (const name of names) {
  const { model, make } = subjects[name];
  await madeOnce(join(folder, model), make);
}
if (!values['make-only']) await compare();

async function compare(): Promise<void> {
  const counts = (list: string): number[] => (list === '' ? [] : list.split(',').map(Number));
  const rounds: Map<string, Measurement>[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    const measured = new Map<string, Measurement>();
    for (const name of names) {
      const { model, measure } = subjects[name];
      console.error(`round ${round + 1}: ${name}`);
      const options = {
        model: join(folder, model),
        contexts: counts(values.context),
        prompts: counts(values.prompts),
        threads: Number(values.threads),
        steps: Number(values.steps),
      };
      measured.set(name, await measure(name, options));
    }
    rounds.push(measured);
  }
  const kinds = [
    ['decode', counts(values.context)],
    ['prefill', counts(values.prompts)],
  ] as const;
  const rows = kinds.flatMap(([kind, lengths]) => lengths.map((length) => ({ kind, length })));
  const speed = (round: Map<string, Measurement>, name: string, kind: 'decode' | 'prefill', length: number): number =>
    round.get(name)?.[kind][length] ?? Number.NaN;
  const speeds = rows.map(({ kind, length }) => ({
    kind,
    length,
    tokensPerSecond: Object.fromEntries(
      names.map((name) => [name, median(rounds.map((round) => speed(round, name, kind, length)))]),
    ),
  }));
  const ours = names.filter((name) => name.startsWith('linnet'));
  const peers = names.filter((name) => !name.startsWith('linnet'));
  const ratios = rows.flatMap(({ kind, length }) =>
    ours.flatMap((our) =>
      peers.map((peer) => ({
        kind,
        length,
        our,
        peer,
        ratio: median(rounds.map((round) => speed(round, our, kind, length) / speed(round, peer, kind, length))),
      })),
    ),
  );
  if (values.json) {
    console.log(
      JSON.stringify({ shape: values.shape, rounds: rounds.map((round) => [...round.values()]), speeds, ratios }),
    );
    return;
  }
  const format = (value: number): string => value.toPrecision(3);
  const subjectsOf = rounds[0];
  for (const [name, { notes }] of subjectsOf) console.log(`${name}: ${notes}`);
  const table = makeTable<(typeof speeds)[number]>(
    [
      { header: 'tokens/s', value: 'kind' },
      { header: 'tokens before', value: 'length', format: String },
      ...names.map((name) => ({
        header: name,
        value: ({ tokensPerSecond }: (typeof speeds)[number]) => tokensPerSecond[name],
        format,
      })),
    ],
    speeds,
  );
  console.log(textTable(table));
  const ratioTable = makeTable<(typeof rows)[number]>(
    [
      { header: 'ratio', value: 'kind' },
      { header: 'tokens', value: 'length', format: String },
      ...ours.flatMap((our) =>
        peers.map((peer) => ({
          header: `${our} / ${peer}`,
          value: ({ kind, length }: (typeof rows)[number]) =>
            ratios.find((r) => r.kind === kind && r.length === length && r.our === our && r.peer === peer)?.ratio ??
            Number.NaN,
          format,
        })),
      ),
    ],
    rows,
  );
  console.log(textTable(ratioTable));
}
