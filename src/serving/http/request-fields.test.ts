/** Bodies under way: one budget, and judgement before they are kept. */
import { expect, it } from 'vitest';
import { checkSessionHeader } from '../../decoding/state/session-file.ts';
import { BodyBudget, withBody } from './request-fields.ts';

const piece = new Uint8Array(100_000);

/** A request whose body comes in pieces; counts those that were read. */
function upload(pieces: number, first: Uint8Array = piece): { request: Request; read: () => number } {
  let read = 0;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (read === pieces) controller.close();
        else controller.enqueue(read++ === 0 ? first : piece);
      },
    },
    { highWaterMark: 0 },
  );
  return { request: new Request('http://localhost/', { method: 'POST', body, duplex: 'half' }), read: () => read };
}

function header(strings: object): Buffer {
  const json = Buffer.from(JSON.stringify({ __metadata__: strings }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}

it('counts all bodies while they are used, and gives their bytes back, after an error too', async () => {
  const bodies = new BodyBudget(1_000_000);
  const bounds = { most: 900_000, bodies };
  const full: unknown = expect.objectContaining({ type: 'unavailable_error' });
  await withBody(upload(6).request, bounds, async (bytes) => {
    expect(bytes.length).toBe(600_000);
    await expect(withBody(upload(5).request, bounds, () => 1)).rejects.toEqual(full);
    expect(await withBody(upload(4).request, bounds, () => 2)).toBe(2);
  });
  await expect(withBody(upload(9).request, bounds, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  const tooLarge: unknown = expect.objectContaining({ type: 'payload_too_large_error' });
  await expect(withBody(upload(50).request, bounds, () => 1)).rejects.toEqual(tooLarge);
  expect(await withBody(upload(9).request, bounds, (bytes) => bytes.length)).toBe(900_000);
});

it('reads no more of a session than its header where that is of another model, or none', async () => {
  const judge = (beginning: Buffer): boolean => checkSessionHeader(beginning, 'abc');
  const bounds = { most: 1e9, bodies: new BodyBudget(1e9), judge };
  const cases: readonly (readonly [Uint8Array, string])[] = [
    [header({ format: 'linnet-session', fingerprint: 'other' }), 'MISMATCH'],
    [header({ format: 'pt', fingerprint: 'abc' }), 'FORMAT'],
    [Buffer.concat([header({}), piece]), 'FORMAT'],
    [new Uint8Array(20).fill(255), 'FORMAT'],
    [piece, 'FORMAT'],
  ];
  for (const [first, code] of cases) {
    const { request, read } = upload(1000, first);
    await expect(withBody(request, bounds, () => 1)).rejects.toEqual(expect.objectContaining({ code }));
    expect(read()).toBe(1);
  }
  const right = upload(3, header({ format: 'linnet-session', fingerprint: 'abc' }));
  expect(await withBody(right.request, bounds, (bytes) => bytes.length)).toBeGreaterThan(200_000);
});

it('takes bytes that come one by one as those that come together', async () => {
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      // A header of 1 MiB is announced, so that the beginning is judged again and again.
      controller.enqueue(Uint8Array.of(sent === 2 ? 16 : sent < 8 ? 0 : sent % 251));
      if (++sent === 60_000) controller.close();
    },
  });
  const request = new Request('http://localhost/', { method: 'POST', body, duplex: 'half' });
  const judge = (beginning: Buffer): boolean => checkSessionHeader(beginning, 'abc');
  const bounds = { most: 1e6, bodies: new BodyBudget(60_000), judge };
  const bytes = await withBody(request, bounds, (whole) => Buffer.from(whole));
  expect(bytes).toEqual(
    Buffer.from(Array.from({ length: 60_000 }, (_, at) => (at === 2 ? 16 : at < 8 ? 0 : at % 251))),
  );
}, 5_000);
