/** The contract of session stores, kept by each of them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomParameters, randomTokens, tinyLlama } from '../../../test/models/tiny-llama.ts';
import { suiteFolder } from '../../../test/scratch-folder.ts';
import { needsRedis, noRedis, type RunningRedis, startRedis } from '../../../test/serving/local-process.ts';
import { mixerPreset } from '../../attention/presets.ts';
import { DecodingEngine } from '../../decoding/engine.ts';
import type { Snapshot } from '../../decoding/state/session-format.ts';
import { openRedis, type Redis } from '../../redis/client.ts';
import { folderStore } from './folder-store.ts';
import { MemoryStore } from './memory-store.ts';
import { redisStore } from './redis-store.ts';
import { Sessions } from './sessions.ts';
import { sessionBytes, type StateModel, type SessionStore } from '../../engine/session-store.ts';

const described = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 }), { kind: 'softmax' }]);
const folder = suiteFolder();
let model: StateModel;
let server: RunningRedis | undefined;
let redis: Redis | undefined;
beforeAll(async () => {
  const engine = await DecodingEngine.create(described, randomParameters(described, 1), { threads: 1 });
  model = { engine, fingerprint: 'f'.repeat(64) };
  if (noRedis) return;
  server = await startRedis();
  redis = await openRedis(server.url);
});
afterAll(async () => {
  await model.engine.dispose();
  redis?.disconnect();
  await server?.stop();
});

function connected(): Redis {
  if (redis === undefined) throw new Error('there is no Redis');
  return redis;
}

async function text(length: number, seed = 2): Promise<Snapshot> {
  const state = model.engine.newState();
  const tokens = randomTokens(described, length, seed);
  await model.engine.prefill(state, tokens.slice(0, -1));
  return { state, tokens, random: [1, 2, 3, 4] };
}

let opened = 0;
const freshFolder = () => folderStore(join(folder, String(opened++)), model);

interface Kind {
  readonly title: string;
  readonly skipped: boolean;
  /** Two servers' views of one store. */
  open(): Promise<readonly [SessionStore, SessionStore]>;
}

async function inRedis(): Promise<readonly [SessionStore, SessionStore]> {
  await connected().flushall();
  return [redisStore(connected(), model, 'session'), redisStore(connected(), model, 'session')];
}

const kinds: readonly Kind[] = [
  {
    title: 'memory',
    skipped: false,
    open: () => {
      const store = new MemoryStore();
      return Promise.resolve([store, store]);
    },
  },
  {
    title: 'a folder',
    skipped: false,
    open: async () => {
      const place = join(folder, String(opened++));
      return [await folderStore(place, model), await folderStore(place, model)];
    },
  },
  { title: `Redis${needsRedis}`, skipped: noRedis, open: inRedis },
  {
    title: `memory in front of Redis${needsRedis}`,
    skipped: noRedis,
    open: async () => {
      const [a, b] = await inRedis();
      return [new MemoryStore({ cold: a, maxBytes: 1 << 20 }), new MemoryStore({ cold: b, maxBytes: 1 << 20 })];
    },
  },
];

describe.each(kinds)('sessions in $title', ({ skipped, open }) => {
  const name = { owner: '', id: 'one' };

  it.skipIf(skipped)('come back as they were saved, by either server', async () => {
    const [a, b] = await open();
    expect([await a.read(name), await a.version(name), await a.delete(name)]).toEqual([undefined, undefined, false]);
    const session = await text(20);
    expect(await a.write(name, session, { expected: 0 })).toBe(1);
    for (const store of [a, b]) {
      const stored = await store.read(name);
      expect(stored?.version).toBe(1);
      expect(Array.from(stored?.session.tokens ?? [])).toEqual(Array.from(session.tokens));
      expect(stored?.session.random).toEqual([1, 2, 3, 4]);
      expect(stored?.session.state.layerSums).toEqual(session.state.layerSums);
      expect(stored?.session.state.layers[0]).toEqual(session.state.layers[0]);
    }
    expect(await b.delete(name)).toBe(true);
    expect([await a.read(name), await b.version(name)]).toEqual([undefined, undefined]);
  });

  it.skipIf(skipped)('are replaced by who knows the version, and by one of two who do', async () => {
    const [a, b] = await open();
    const session = await text(5);
    expect(await a.write(name, session, { expected: 1 })).toBeUndefined();
    expect(await a.write(name, session, { expected: 0 })).toBe(1);
    expect(await b.write(name, session, { expected: 0 })).toBeUndefined();
    for (let version = 1; version < 6; version++) {
      const next = await text(5 + version);
      await b.read(name);
      const won = await Promise.all([a, b, a, b].map((store) => store.write(name, next, { expected: version })));
      expect(won.filter((result) => result !== undefined)).toEqual([version + 1]);
      for (const store of [a, b]) {
        expect((await store.read(name))?.session.tokens).toHaveLength(5 + version);
        expect(await store.version(name)).toBe(version + 1);
      }
    }
    await a.delete(name);
    expect(await b.write(name, session, { expected: 6 })).toBeUndefined();
    expect(await b.read(name)).toBeUndefined();
  });

  it.skipIf(skipped)('are listed by owner', async () => {
    const [a, b] = await open();
    const session = await text(3);
    for (const owner of ['', 'ab', 'abc']) {
      for (const id of ['y', 'x']) await a.write({ owner, id: id + owner }, session, { expected: 0 });
    }
    await a.delete({ owner: 'ab', id: 'yab' });
    expect([await b.list(''), await b.list('ab'), await b.list('abc'), await b.list('c')]).toEqual([
      ['x', 'y'],
      ['xab'],
      ['xabc', 'yabc'],
      [],
    ]);
  });
});

it('copies of a session are stored all or not at all', async () => {
  class SmallStore extends MemoryStore {
    override write(...given: Parameters<SessionStore['write']>) {
      return this.count < 3 ? super.write(...given) : Promise.reject(new Error('full'));
    }
  }
  const store = new SmallStore();
  const sessions = new Sessions(store);
  const session = await text(3);
  expect(await sessions.createAll(2, 'me', session)).toHaveLength(2);
  await expect(sessions.createAll(2, 'me', session)).rejects.toThrow('full');
  expect(store.count).toBe(2);
});

it(`sessions with a time to live are gone after it, in every store${needsRedis}`, async () => {
  const stores = kinds.filter(({ skipped }) => !skipped);
  await Promise.all(
    stores.map(async ({ title, open }, place) => {
      const owner = `owner${place}`; // two of them write to one Redis
      const name = { owner, id: 'one' };
      const [a, b] = await open();
      const session = await text(3);
      expect(await a.write(name, session, { expected: 0, ttl: 1 }), title).toBe(1);
      expect((await b.read(name))?.ttl, title).toBe(1);
      await a.write({ owner, id: 'stays' }, session, { expected: 0, ttl: 1000 });
      await sleep(1100);
      const gone = [await b.read(name), await a.version(name), await b.delete(name)];
      expect(gone, title).toEqual([undefined, undefined, false]);
      expect(await b.list(owner), title).toEqual(['stays']);
      expect(await a.write(name, session, { expected: 0 }), title).toBe(1);
      expect((await b.read(name))?.ttl, title).toBeUndefined();
    }),
  );
});

describe('sessions in memory in front of a folder', () => {
  it('take no more bytes than they may, and all come back', async () => {
    const session = await text(10);
    const store = new MemoryStore({ cold: await freshFolder(), maxBytes: 3 * sessionBytes(session) });
    const tiers: string[] = [];
    store.observer = (tier) => tiers.push(tier);
    const names = Array.from({ length: 8 }, (_, i) => ({ owner: '', id: `s${i}` }));
    for (const name of names) await store.write(name, session, { expected: 0 });
    expect([store.count, store.bytes]).toEqual([3, 3 * sessionBytes(session)]);
    for (const name of names.toReversed()) expect((await store.read(name))?.version).toBe(1);
    expect(tiers).toEqual(['warm', 'warm', 'warm', 'cold', 'cold', 'cold', 'cold', 'cold']);
    await store.close();
    expect(store.count).toBe(0);
  });
});

describe('damaged sessions', () => {
  const name = { owner: '', id: 'one' };

  it('in a folder are refused, byte by byte', async () => {
    const store = await freshFolder();
    await store.write(name, await text(5), { expected: 0 });
    const place = join(folder, String(opened - 1), 'anyone.one');
    expect(readdirSync(place)).toEqual(['1.session']);
    const bytes = readFileSync(join(place, '1.session'));
    for (let at = 0; at < bytes.length; at += 97) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << (at % 8);
      writeFileSync(join(place, '1.session'), damaged);
      await expect(store.read(name)).rejects.toMatchObject({ name: 'LinnetError', code: /FORMAT|MISMATCH/ });
    }
  });

  it.skipIf(noRedis)(`in Redis are refused, whatever is wrong with them${needsRedis}`, async () => {
    const [store] = await inRedis();
    await store.write(name, await text(5), { expected: 0 });
    const [key] = await connected().keys('*session:*');
    const bytes = (await connected().hgetBuffer(key, 'bytes')) ?? Buffer.alloc(0);
    for (let at = 0; at < bytes.length; at += 97) {
      const damaged = Buffer.from(bytes);
      damaged[at] ^= 1 << (at % 8);
      await connected().hset(key, 'bytes', damaged);
      await expect(store.read(name)).rejects.toMatchObject({ name: 'LinnetError', code: /FORMAT|MISMATCH/ });
      await connected().hset(key, 'bytes', bytes.subarray(0, at));
      await expect(store.read(name)).rejects.toMatchObject({ name: 'LinnetError', code: 'FORMAT' });
    }
    await connected().hset(key, 'bytes', bytes, 'version', 'x');
    await expect(store.read(name)).rejects.toMatchObject({ code: 'FORMAT' });
    await connected().set(key, 'no hash at all');
    await expect(store.read(name)).rejects.toMatchObject({ code: 'FORMAT' });
    await expect(store.read(name)).rejects.toThrow(key);
  });
});
