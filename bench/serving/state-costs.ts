/**
 * The cost of a large shape's session: bytes, and milliseconds of processor time to save it as a file, fork it and restore it, at several
 * text lengths. It needs no weights: a state's content does not change its size.
 *
 *   npx tsx bench/serving/state-costs.ts [shape, default tinyllama-1.1b] [lengths, default 1024,16384,131072]
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mixerPreset } from '../../src/attention/presets.ts';
import { decodeSession, encodeSession } from '../../src/decoding/state/session-file.ts';
import type { Snapshot } from '../../src/decoding/state/session-format.ts';
import { SequenceState } from '../../src/decoding/state/sequence-state.ts';
import { createFileAtomic } from '../../src/files/atomic.ts';
import { describeCausalModel } from '../../src/models/index.ts';
import { positionInSlot } from '../../src/attention/masks.ts';
import { modelLayout } from '../../src/models/graphs/model-layout.ts';
import { publishedShape } from '../../src/models/presets/presets.ts';

const [shape = 'tinyllama-1.1b', lengths = '1024,16384,131072'] = process.argv.slice(2);
const plain = describeCausalModel(publishedShape(shape));
const model = plain.withMixers(plain.mixers.map(() => mixerPreset('augmented')));
const layout = modelLayout(model);
const fingerprint = 'f'.repeat(64);

function sessionOf(length: number): Snapshot {
  const state = new SequenceState(model, layout);
  for (const { index, ring = length, horizon } of layout.slotLayouts) {
    const slots = Array.from({ length: ring }, (_, slot) => positionInSlot(slot, ring, length, horizon));
    state.positions[index].set(slots);
  }
  for (const { keys, values } of state.layers) for (const rows of [keys, values]) rows.fill(0.5);
  state.length = length;
  return { state, tokens: Int32Array.from({ length: length + 1 }, (_, i) => i % 1000) };
}

/** Milliseconds of processor time, median of nine; other programs do not count. */
async function time(work: (round: number) => unknown): Promise<string> {
  const times: number[] = [];
  for (let round = 0; round < 9; round++) {
    const started = process.cpuUsage();
    await work(round);
    const { user, system } = process.cpuUsage(started);
    times.push((user + system) / 1000);
  }
  return times.sort((a, b) => a - b)[4].toFixed(1);
}

const folder = await mkdtemp(join(tmpdir(), 'linnet-state-'));
process.stdout.write('| tokens | state MiB | file MiB | encode ms | save, flushed ms | fork ms | restore ms |\n');
for (const length of lengths.split(',').map(Number)) {
  const session = sessionOf(length);
  const bytes = encodeSession({ ...session, fingerprint });
  const file = (round: number): string => join(folder, `${length}-${round}`);
  const row = [
    length,
    (session.state.bytes / 2 ** 20).toFixed(2),
    (bytes.length / 2 ** 20).toFixed(2),
    await time(() => encodeSession({ ...session, fingerprint })),
    await time(async (round) => createFileAtomic(file(round), encodeSession({ ...session, fingerprint }))),
    await time(() => session.state.fork()),
    await time(async (round) => decodeSession(await readFile(file(round)), { model, layout }, fingerprint)),
  ];
  process.stdout.write(`| ${row.join(' | ')} |\n`);
}
await rm(folder, { recursive: true });
