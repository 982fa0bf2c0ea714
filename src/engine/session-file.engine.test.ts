import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { errorCode } from '../../test/error-code.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { randomParameters, randomTokens, tinyLlama } from '../../test/models/tiny-llama.ts';
import { randomT5Weights, tinyT5 } from '../../test/models/tiny-t5.ts';
import { mixerPreset } from '../attention/presets.ts';
import { parseSafetensors, type SafetensorsBytes } from '../checkpoint/safetensors/directory.ts';
import type { TensorEntry } from '../checkpoint/safetensors/encoding.ts';
import { writeSafetensors } from '../checkpoint/safetensors/writer.ts';
import { LinnetError } from '../errors.ts';
import type { CausalModel } from '../models/model.ts';
import { Random } from '../random.ts';
import { DecodingEngine } from '../decoding/engine.ts';
import { generateToEnd } from '../../test/decoding/generated.ts';
import { Sampler } from '../decoding/sampler.ts';
import { decodeSession, restoreSession, saveSession } from '../decoding/state/session-file.ts';
import { readSession } from '../decoding/state/session-format.ts';
import type { SequenceState } from '../decoding/state/sequence-state.ts';
import { sessionTensors } from '../decoding/state/session-tensors.ts';

const augmented = mixerPreset('augmented', { group: 8, kernel: 9 });
const softmax = mixerPreset('softmax');
const local = mixerPreset('local+conv', { group: 5, kernel: 63 });
/** One layer of each kind of state. */
const featureSums = mixerPreset('performer', { group: 8, kernel: 9, features: 12, convolution: true });
const blocks = mixerPreset('linformer', { block: 8, rows: 3, kernel: 9, convolution: true });
const model = tinyLlama([augmented, softmax, local, featureSums, blocks]);
const fingerprint = 'f'.repeat(64);

const folder = suiteFolder();
let engine: DecodingEngine;
beforeAll(async () => {
  engine = await openEngine(model);
});
afterAll(async () => {
  await engine.dispose();
});

function openEngine(described: CausalModel): Promise<DecodingEngine> {
  return DecodingEngine.create(described, randomParameters(described, 1), { threads: 1 });
}

async function read(count: number): Promise<{ state: SequenceState; tokens: Int32Array }> {
  const state = engine.newState();
  const tokens = randomTokens(model, count, 2);
  if (count > 0) await engine.prefill(state, tokens);
  return { state, tokens };
}

/** All numbers of a state. */
function contents(state: SequenceState): unknown {
  const { length, layers, layerSums, positions } = state;
  const groupRows = state.groupRows.map((rows) => {
    return rows && [rows.count, rows.padded('keys', rows.count), rows.padded('values', rows.count)];
  });
  return { length, layers, layerSums, groupRows, positions };
}

/** A file's tensors and strings, to be written again with changes. */
function unpack(file: SafetensorsBytes): { entries: TensorEntry[]; strings: Record<string, string> } {
  const entries = file.names().map((name): TensorEntry => {
    const { dtype, shape } = file.info(name);
    return { name, dtype, shape, data: file.read(name).data };
  });
  return { entries, strings: Object.fromEntries(file.metadata) };
}

type Change = (entry: TensorEntry) => TensorEntry | undefined;

type Forge = (
  strings: Record<string, string | undefined>,
  change?: Change,
  extra?: readonly TensorEntry[],
) => Promise<string | undefined>;

/** Writes a file with changed strings and tensors and restores it. @returns the code of the error, if there is one */
async function restoreForged(
  path: string,
  reader: DecodingEngine,
  original: Uint8Array,
  ...[strings, change = (entry) => entry, extra = []]: Parameters<Forge>
): Promise<string | undefined> {
  const unpacked = unpack(parseSafetensors(original));
  const entries = [...unpacked.entries.flatMap((entry) => change(entry) ?? []), ...extra];
  const merged = Object.entries({ ...unpacked.strings, ...strings }).filter(
    (pair): pair is [string, string] => pair[1] !== undefined,
  );
  await writeSafetensors(path, entries, Object.fromEntries(merged));
  return errorCode(() => restoreSession(path, reader, fingerprint));
}

/** Changes the numbers of one tensor. */
function altered(name: string, alter: (data: Int32Array | Float32Array) => void): Change {
  return (entry) => {
    if (entry.name !== name) return entry;
    const { data } = entry;
    if (!(data instanceof Int32Array || data instanceof Float32Array)) throw new Error('unexpected type');
    const copy = data.slice();
    alter(copy);
    return { ...entry, data: copy };
  };
}

describe('a session file', () => {
  it('restores everything, whatever the length', async () => {
    const path = join(folder, 'lengths');
    for (const length of [0, 1, 7, 8, 9, 31, 32, 45, 300]) {
      const { state, tokens } = await read(length);
      const text = [...tokens, 3, 4];
      await saveSession(path, { state, tokens: text, fingerprint });
      const restored = await restoreSession(path, engine, fingerprint);
      expect(contents(restored.state), `length ${length}`).toEqual(contents(state));
      expect([...restored.tokens]).toEqual(text);
      expect(restored.random).toBeUndefined();
    }
  });

  it('continues a sampled text as if it had not been interrupted', async () => {
    const path = join(folder, 'continued');
    const config = { temperature: 1, repetitionPenalty: 1.2, seed: 5 };
    const promptTokens = randomTokens(model, 19, 3);
    const options = { promptTokens, ignoreEos: true };
    const unbroken = await generateToEnd(engine, { ...options, maxTokens: 40, sampler: new Sampler(config) });

    const sampler = new Sampler(config);
    const first = await generateToEnd(engine, { ...options, maxTokens: 17, sampler });
    const text = [...promptTokens, ...first.tokens];
    await saveSession(path, { state: first.state, tokens: text, random: sampler.random.state, fingerprint });

    const other = await openEngine(model);
    const restored = await restoreSession(path, other, fingerprint);
    const second = await generateToEnd(other, {
      promptTokens: restored.tokens,
      state: restored.state,
      maxTokens: 23,
      ignoreEos: true,
      sampler: new Sampler(config, restored.random),
    });
    expect([...first.tokens, ...second.tokens]).toEqual(unbroken.tokens);
    await other.dispose();
  });

  it('restores states that are independent of each other', async () => {
    const path = join(folder, 'independent');
    const { state, tokens } = await read(21);
    await saveSession(path, { state, tokens, fingerprint });
    const [a, b] = [await restoreSession(path, engine, fingerprint), await restoreSession(path, engine, fingerprint)];
    for (const token of randomTokens(model, 20, 4)) await engine.advance(a.state, token);
    expect(contents(b.state)).toEqual(contents(state));
    expect((await engine.advance(b.state, 7)).logits).toEqual((await engine.advance(state, 7)).logits);
  });

  it('is refused by another model', async () => {
    const path = join(folder, 'foreign');
    const { state, tokens } = await read(21);
    await saveSession(path, { state, tokens, fingerprint });
    expect(await errorCode(() => restoreSession(path, engine, '0'.repeat(64)))).toBe('MISMATCH');
    // Equal sizes, but keys that are stored in another way.
    const kernel = tinyLlama([
      { kind: 'linear', group: 8, local: { kernel: 'softmax' }, global: {}, convolution: { kernel: 9 } },
      softmax,
      local,
    ]);
    for (const other of [tinyLlama([augmented, softmax]), kernel]) {
      await using foreign = await openEngine(other);
      expect(await errorCode(() => restoreSession(path, foreign, fingerprint))).toBe('MISMATCH');
    }
    expect(await errorCode(() => restoreSession(join(folder, 'none'), engine, fingerprint))).toBe('NOT_FOUND');
  });

  it('is not written from tokens that are not the text', async () => {
    const path = join(folder, 'unwritten');
    const { state, tokens } = await read(21);
    for (const text of [tokens.subarray(1), [...tokens, 50], [...tokens, -1], [...tokens, 0.5]]) {
      expect(await errorCode(() => saveSession(path, { state, tokens: text, fingerprint }))).toBe('INPUT');
    }
    expect(await errorCode(() => restoreSession(path, engine, fingerprint))).toBe('NOT_FOUND');
  });

  it('is refused with forged content', async () => {
    const path = join(folder, 'forged');
    const { state, tokens } = await read(21);
    await saveSession(path, { state, tokens, random: new Random(1).state, fingerprint });
    const original = await readFile(path);
    const forge: Forge = (...changes) => restoreForged(path, engine, original, ...changes);
    expect(await forge({})).toBeUndefined();

    for (const format of ['pt', undefined]) expect(await forge({ format })).toBe('FORMAT');
    for (const version of ['2', '', undefined]) expect(await forge({ version })).toBe('FORMAT');
    for (const length of ['20', '22', '9999999999', '-1', '1e1', '', '021', undefined]) {
      expect(await forge({ length }), `length ${length}`).toBe('FORMAT');
    }
    for (const sampler of ['[0,0,0,0]', '[1,2,3]', '[1,2,3,4.5]', '[1,2,3,4]', 'x', '{}', undefined]) {
      expect(await forge({ sampler }), `sampler ${sampler}`).toBe('FORMAT');
    }
    expect(await forge({ sha256: '0'.repeat(64) })).toBe('FORMAT');
    expect(await forge({ another: 'string' })).toBe('FORMAT');

    const position = unpack(parseSafetensors(original)).entries.find(({ name }) => name.startsWith('positions.g8'));
    if (position === undefined) throw new Error('no positions');
    const alterations = [
      altered(position.name, (data) => data.reverse()),
      altered(position.name, (data) => (data[0] = 1e9)),
      // As of versions that folded groups of eight one by one.
      (entry: TensorEntry) => ({ ...entry, name: entry.name.replace('positions.g8x32', 'positions.g8') }),
      altered('tokens', (data) => (data[0] = 50)),
      altered('tokens', (data) => (data[0] = -1)),
      altered('keys.0', (data) => (data[3] = Number.NaN)),
      altered('values.1', (data) => (data[3] = Infinity)),
      altered('sums.0', (data) => (data[0] += 1)),
      (entry: TensorEntry) => (entry.name === 'keys.2' ? undefined : entry),
      (entry: TensorEntry) => (entry.name === 'tokens' ? undefined : entry),
      (entry: TensorEntry) => (entry.name === 'keys.2' ? { ...entry, shape: [...entry.shape, 1] } : entry),
      (entry: TensorEntry) => (entry.name === 'sums.0' ? { ...entry, shape: [2, 4, 16] } : entry),
      (entry: TensorEntry) =>
        entry.name === 'sums.0' ? { ...entry, dtype: 'I32' as const, data: new Int32Array(128) } : entry,
    ];
    for (const [index, change] of alterations.entries())
      expect(await forge({}, change), `change ${index}`).toBe('FORMAT');
    const extra: TensorEntry = { name: 'extra', dtype: 'F32', shape: [1], data: Float32Array.of(1) };
    expect(await forge({}, undefined, [extra])).toBe('FORMAT');
  });

  it('is refused with values that no step could compute with, and computes with all others', async () => {
    const path = join(folder, 'large');
    const names = sessionTensors(model, engine.layout, 69, 0).map(({ name }) => name);
    const restoredWith = async (factor: number, named: (name: string) => boolean) => {
      const { state, tokens } = await read(69);
      for (const { name, of } of sessionTensors(model, engine.layout, 69, 0)) {
        const values = of(state);
        if (values instanceof Float32Array && named(name)) {
          const largest = factor * 2 ** (name.startsWith('sums') ? 60 : 40);
          for (const at of values.keys()) values[at] = at % 3 === 0 ? -largest : largest;
        }
      }
      await saveSession(path, { state, tokens, fingerprint });
      return restoreSession(path, engine, fingerprint);
    };
    for (const some of names.filter((name) => !name.startsWith('positions'))) {
      const large = restoredWith(2, (name) => name === some);
      await expect(large, some).rejects.toMatchObject({
        code: 'FORMAT',
        message: expect.stringContaining(some) as unknown,
      });
    }
    for (const some of [...names, '']) {
      const { state } = await restoredWith(1, (name) => name.startsWith(some));
      const { logits } = await engine.advance(state, 7);
      expect(logits.every(Number.isFinite), some).toBe(true);
    }
  });

  it('of an encoder-decoder model is refused with a forged text that was encoded', async () => {
    const path = join(folder, 'forged-source');
    const t5 = tinyT5('softmax');
    await using reader = await DecodingEngine.create(t5, randomT5Weights(t5), { threads: 1 });
    const tokens = [0, 5, 6, 7, 8];
    const state = reader.newState(await reader.encode([3, 4, 1]));
    await reader.prefill(state, tokens);
    await saveSession(path, { state, tokens, fingerprint });
    const original = await readFile(path);
    const forge: Forge = (...changes) => restoreForged(path, reader, original, ...changes);
    expect(await forge({})).toBeUndefined();
    const memories = unpack(parseSafetensors(original)).entries.filter(({ name }) => name.startsWith('cross.0.'));
    expect(memories.length).toBeGreaterThan(0);
    const without =
      (name: string): Change =>
      (entry) =>
        entry.name === name ? undefined : entry;
    const shortened: Change = (entry) =>
      entry.name === 'source' ? { ...entry, shape: [2], data: Int32Array.of(3, 4) } : entry;
    const emptied: Change = (entry) =>
      entry.name === 'source' ? { ...entry, shape: [0], data: new Int32Array(0) } : entry;
    const changes = [
      without('source'),
      shortened,
      emptied,
      altered('source', (data) => (data[0] = 20)),
      altered('source', (data) => (data[0] = -1)),
      altered('source', (data) => (data[0] = 5)),
      ...memories.flatMap(({ name }) => [
        without(name),
        altered(name, (data) => (data[0] = Number.NaN)),
        altered(name, (data) => (data[0] += 1)),
      ]),
    ];
    for (const [index, change] of changes.entries()) expect(await forge({}, change), `change ${index}`).toBe('FORMAT');
    // Memory is taken once all shapes are known to fit each other.
    const file = parseSafetensors(original);
    const endless = {
      source: 'a session',
      metadata: file.metadata,
      names: () => file.names(),
      read: (name: string) => file.read(name),
      info: (name: string) => ({ ...file.info(name), ...(name === 'source' && { shape: [2 ** 40] }) }),
    };
    const hash = createHash('sha256');
    expect(await errorCode(() => readSession(endless, reader, fingerprint, hash))).toBe('FORMAT');
    // A model that reads no text has no use for one that was encoded.
    await writeFile(path, original);
    expect(await errorCode(() => restoreSession(path, engine, fingerprint))).toBe('MISMATCH');
    const { entries } = unpack(parseSafetensors(original));
    const plain = await read(9);
    await saveSession(path, { ...plain, fingerprint });
    const foreign = entries.filter(({ name }) => name === 'source');
    expect(await restoreForged(path, engine, await readFile(path), {}, undefined, foreign)).toBe('FORMAT');
  });

  it('that is no safetensors file rejects the promise', async () => {
    const restored = decodeSession(Uint8Array.of(1, 2, 3), engine, fingerprint).catch((error: unknown) => error);
    expect(await restored).toMatchObject({ code: 'FORMAT' });
  });

  it('is restored whole or refused, however it is damaged', async () => {
    const path = join(folder, 'damaged');
    const { state, tokens } = await read(13);
    await saveSession(path, { state, tokens, random: new Random(1).state, fingerprint });
    const original = await readFile(path);
    const tryRestore = async (bytes: Uint8Array): Promise<void> => {
      await writeFile(path, bytes);
      try {
        const restored = await restoreSession(path, engine, fingerprint);
        // Some bytes carry nothing: the padding of the header.
        expect(contents(restored.state)).toEqual(contents(state));
        expect(restored.tokens).toEqual(tokens);
        expect(restored.random).toEqual(new Random(1).state);
      } catch (error) {
        if (!(error instanceof LinnetError)) throw error;
        expect(['FORMAT', 'MISMATCH']).toContain(error.code);
      }
    };
    await fc.assert(
      fc.asyncProperty(fc.nat(original.length - 1), (length) => tryRestore(original.subarray(0, length))),
      { seed: 1, numRuns: 60 },
    );
    const headerEnd = 8 + Number(original.readBigUInt64LE());
    const place = fc.oneof(fc.nat(headerEnd - 1), fc.nat(original.length - 1));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 3 }), (changes) => {
        const bytes = Uint8Array.from(original);
        for (const [at, value] of changes) bytes[at] = value;
        return tryRestore(bytes);
      }),
      { seed: 2, numRuns: 400 },
    );
  });
});
