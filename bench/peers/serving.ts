/**
 * A server's main costs in Linnet and in llama.cpp with as many sequences and the same shape: tokens per second of many
 * streams at several text lengths, and the time to the first token of turn 20 of a conversation, from the session
 * and after rereading the conversation. See README.md next to this file.
 *
 *   node --import tsx bench/peers/serving.ts [--quick] [--json]
 */
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { makeTable, textTable } from '../../src/report/table.ts';
import { BatchedLinnet } from './batched-linnet.ts';
import { BatchedLlama } from './batched-llama.ts';
import type { Cost } from './cost.ts';
import { median } from './measurement.ts';
import { exportName, madeOnce, peerShape } from './shapes.ts';

const { values } = parseArgs({
  options: {
    shape: { type: 'string', default: 'tinyllama-1.1b' },
    dtype: { type: 'string', default: 'w8a8' },
    peer: { type: 'string', default: 'q8_0' },
    context: { type: 'string' },
    streams: { type: 'string', default: '16' },
    steps: { type: 'string' },
    rounds: { type: 'string' },
    /** Tokens in the conversation before turn 20, and in the turn. */
    conversation: { type: 'string' },
    turn: { type: 'string', default: '32' },
    threads: { type: 'string', default: '2' },
    data: { type: 'string', default: join(tmpdir(), 'linnet-peers') },
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});
const { quick, shape, peer } = values;
if (peer !== 'q8_0' && peer !== 'q4_0') throw new Error(`unknown peer "${peer}"; known are q8_0 and q4_0`);
const contexts = (values.context ?? (quick ? '1024' : '1024,4096')).split(',').map(Number);
const conversation = Number(values.conversation ?? (quick ? '1024' : '4096'));
const [streams, added, threads] = [values.streams, values.turn, values.threads].map(Number);
const steps = Number(values.steps ?? (quick ? 3 : 8));
const rounds = Number(values.rounds ?? (quick ? 1 : 3));

const folder = resolve(values.data, shape);
await mkdir(folder, { recursive: true });
const ours = await madeOnce(join(folder, `linnet-${values.dtype}`), (path) =>
  peerShape(shape).writeExport(path, exportName(values.dtype)),
);
const theirs = await madeOnce(join(folder, `${peer}.gguf`), (path) => peerShape(shape).writeGguf(path, peer));
const note = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** One measurement in both engines, by round. */
interface Row {
  readonly what: string;
  readonly linnet: readonly Cost[];
  readonly other: readonly Cost[];
}

await using linnetStreams = await BatchedLinnet.open(ours, { streams, threads });
const longest = Math.max(...contexts, conversation) + added + streams + steps + 8;
await using llamaStreams = await BatchedLlama.open(theirs, { streams, longest, threads, folder });
note(`llama.cpp reads ${Math.max(...contexts, conversation)} tokens`);
const read = await llamaStreams.read([...new Set([...contexts, conversation])]);

const decoded = contexts.map((context) => ({ context, linnet: new Array<Cost>(), other: new Array<Cost>() }));
const turns = { linnet: new Array<Cost>(), reread: new Array<Cost>(), kept: new Array<Cost>() };
for (let round = 0; round < rounds; round++) {
  for (const row of decoded) {
    note(`round ${round + 1}: ${streams} streams after ${row.context} tokens`);
    row.linnet.push(await linnetStreams.decode(row.context, steps));
    row.other.push(await llamaStreams.decode(row.context, steps));
  }
  note(`round ${round + 1}: turn 20 after ${conversation} tokens`);
  turns.linnet.push(await linnetStreams.turn(conversation, added));
  turns.kept.push(await llamaStreams.turn(conversation, added));
  turns.reread.push(await linnetStreams.reread(conversation, added));
}
// The peer has already read the conversation once: a second reading costs the same and takes minutes.
const rereadOther = read.get(conversation);
const rows: Row[] = [
  ...decoded.map(({ context, ...row }) => ({ what: `a step of ${streams} streams after ${context}`, ...row })),
  {
    what: `turn 20 after ${conversation}, from the session (llama.cpp: in its cache)`,
    linnet: turns.linnet,
    other: turns.kept,
  },
  {
    what: `turn 20 after ${conversation}, read again`,
    linnet: turns.reread,
    other: turns.reread.flatMap(() => rereadOther ?? []),
  },
];
const of = (list: readonly Cost[], kind: keyof Cost): number => median(list.map((cost) => cost[kind]));
const ratio = (a: readonly Cost[], b: readonly Cost[], kind: keyof Cost): number =>
  median(a.map((cost, round) => cost[kind] / b[round][kind]));
const results = {
  shape,
  linnet: values.dtype,
  other: `llama.cpp ${peer}, ${llamaStreams.notes}`,
  threads,
  rounds,
  bytesOfSession: {
    tokens: conversation,
    linnet: linnetStreams.bytes(conversation),
    other: await llamaStreams.bytes(conversation),
  },
  rows: rows.map(({ what, linnet: mine, other }) => ({
    what,
    linnetMs: of(mine, 'wall'),
    otherMs: of(other, 'wall'),
    linnetProcessorMs: of(mine, 'processor'),
    otherProcessorMs: of(other, 'processor'),
    ratio: ratio(other, mine, 'wall'),
    processorRatio: ratio(other, mine, 'processor'),
  })),
  rereadOverSession: {
    ratio: ratio(turns.reread, turns.linnet, 'wall'),
    processorRatio: ratio(turns.reread, turns.linnet, 'processor'),
  },
};
if (values.json) process.stdout.write(`${JSON.stringify(results)}\n`);
else {
  const format = (value: number): string => value.toPrecision(3);
  type Result = (typeof results.rows)[number];
  const table = makeTable<Result>(
    [
      { header: 'what', value: 'what' },
      { header: 'Linnet ms', value: 'linnetMs', format },
      { header: 'llama.cpp ms', value: 'otherMs', format },
      { header: 'ratio', value: 'ratio', format },
      { header: 'Linnet processor ms', value: 'linnetProcessorMs', format },
      { header: 'llama.cpp processor ms', value: 'otherProcessorMs', format },
      { header: 'ratio', value: 'processorRatio', format },
    ],
    results.rows,
  );
  const { bytesOfSession: bytes, rereadOverSession: reread } = results;
  process.stdout.write(`${shape}: Linnet ${values.dtype}; ${results.other}; ${rounds} rounds\n${textTable(table)}\n`);
  process.stdout.write(
    `turn 20: rereading takes ${format(reread.ratio)} times as long as resuming the session ` +
      `(processor ${format(reread.processorRatio)})\n` +
      `a session of ${bytes.tokens} tokens: ${(bytes.linnet / 2 ** 20).toFixed(1)} MiB, llama.cpp ${(bytes.other / 2 ** 20).toFixed(1)} MiB\n`,
  );
}
