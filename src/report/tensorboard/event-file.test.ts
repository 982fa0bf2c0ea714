import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { scratchFolder } from '../../../test/scratch-folder.ts';
import { openRun } from '../record.ts';
import { maskedCrc32c } from './crc32c.ts';
import { EventFile } from './event-file.ts';
import { type Event, EventSchema } from './event_pb.ts';

/** The events of a file; every checksum must hold. */
function readEvents(bytes: Buffer): Event[] {
  const events: Event[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(maskedCrc32c(bytes.subarray(at, at + 8)));
    const message = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(maskedCrc32c(message));
    events.push(fromBinary(EventSchema, message));
    at += length + 16;
  }
  return events;
}

/** Numbers of events by tag, with their steps. */
function scalarsOf(events: readonly Event[]): Record<string, [step: number, value: number][]> {
  const found: Record<string, [number, number][]> = {};
  for (const { step, what } of events) {
    if (what.case !== 'summary') continue;
    for (const { tag, value } of what.value.value) {
      (found[tag] ??= []).push([Number(step), value.value ?? Number.NaN]);
    }
  }
  return found;
}

async function eventsIn(folder: string): Promise<Event[][]> {
  const names = (await readdir(folder)).filter((name) => name.startsWith('events.out.tfevents.')).sort();
  return await Promise.all(names.map(async (name) => readEvents(await readFile(join(folder, name)))));
}

describe('EventFile', () => {
  it('begins with the version, and has numbers as they were written', async () => {
    const folder = await scratchFolder();
    const file = EventFile.open(folder, 0, () => new Date('2026-01-02T03:04:05.678Z'));
    file.write(1, { 'training/loss': 2.5, rate: 0.125 });
    file.write(2, {});
    file.write(2 ** 40, { 'training/loss': Number.POSITIVE_INFINITY });
    file.close();
    const events = readEvents(await readFile(file.path));
    expect(events[0].what).toEqual({ case: 'fileVersion', value: 'brain.Event:2' });
    expect(events[0].wallTime).toBe(1767323045.678);
    expect(events).toHaveLength(3);
    expect(scalarsOf(events)).toEqual({
      'training/loss': [
        [1, 2.5],
        [2 ** 40, Number.POSITIVE_INFINITY],
      ],
      rate: [[1, 0.125]],
    });
    // Beginning and length of the first record, as TensorBoard's own writer has them.
    expect(file.path).toMatch(/events\.out\.tfevents\.1767323045\./);
  });

  it('is a file of its own within the same second', async () => {
    const folder = await scratchFolder();
    const now = (): Date => new Date(0);
    const files = [EventFile.open(folder, 0, now), EventFile.open(folder, 7, now)];
    for (const file of files) file.close();
    expect(new Set(files.map(({ path }) => path)).size).toBe(2);
    const [, mark] = readEvents(await readFile(files[1].path));
    expect(mark.step).toBe(8n);
    expect(mark.what.case === 'sessionLog' && mark.what.value.status).toBe(1);
  });
});

describe('a run with events', () => {
  const description = { command: ['linnet', 'finetune'], configuration: {} };

  it('has the metrics of its lines, with perplexity and tokens per second', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description, { tensorboard: true });
    run.log({ update: 1, loss: 3, gradientNorm: 1.5, learningRate: 0.25, tokens: 128, seconds: 0.5 });
    run.log({ update: 2, loss: 2, gradientNorm: 1, learningRate: 0.125, tokens: 256, seconds: 0.25 });
    run.log({ update: 2, heldOutLoss: 2 });
    run.log({ update: 1, loss: 1, stage: 'logits', kept: true });
    await run.finish('finished');
    const [events] = await eventsIn(folder);
    const { 'held-out/perplexity': perplexity, ...others } = scalarsOf(events);
    expect(perplexity[0][1]).toBeCloseTo(Math.exp(2), 5);
    expect(others).toEqual({
      'training/loss': [
        [1, 3],
        [2, 2],
      ],
      'training/gradient norm': [
        [1, 1.5],
        [2, 1],
      ],
      'training/learning rate': [
        [1, 0.25],
        [2, 0.125],
      ],
      'training/tokens per second': [
        [1, 256],
        [2, 512],
      ],
      'held-out/loss': [[2, 2]],
      'logits/training/loss': [[1, 1]],
    });
  });

  it('goes on in another file, which says from where', async () => {
    const folder = await scratchFolder();
    const first = await openRun(folder, description, { tensorboard: true });
    for (const update of [1, 2, 3]) first.log({ update, loss: update, tokens: 10 * update, seconds: 1 });
    await first.finish('interrupted');
    const keep = ({ update }: { readonly update?: unknown }): boolean => Number(update) <= 2;
    const second = await openRun(folder, description, { tensorboard: true, resume: true, keep });
    second.log({ update: 3, loss: 30, tokens: 30, seconds: 2 });
    await second.finish('finished');
    const files = await eventsIn(folder);
    expect(files).toHaveLength(2);
    const resumed = files.find((events) => events.some(({ what }) => what.case === 'sessionLog')) ?? [];
    expect(resumed[1].step).toBe(3n);
    expect(scalarsOf(resumed)).toEqual({ 'training/loss': [[3, 30]], 'training/tokens per second': [[3, 5]] });
  });

  it('has none where none are asked for', async () => {
    const folder = await scratchFolder();
    const run = await openRun(folder, description);
    run.log({ update: 1, loss: 3 });
    await run.finish('finished');
    expect(await eventsIn(folder)).toEqual([]);
  });
});
