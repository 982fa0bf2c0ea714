/** Clients that ask for much, and clients that do not read, hold up nobody else, and no shutdown. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';
import type { LanguageModel } from '../../src/open/language-model.ts';
import { openTiny, serve } from './served.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await openTiny();
});
afterAll(() => model[Symbol.asyncDispose]());

/** Asks for a long stream and reads none of it. */
async function unread(url: string, key: string, fields: object = {}): Promise<Socket> {
  const asked = { prompt: 'One', max_tokens: 100_000, ignore_eos: true, stream: true, temperature: 0, ...fields };
  const { hostname, port } = new URL(url);
  const body = JSON.stringify(asked);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on('error', () => undefined);
  onTestFinished(() => {
    socket.destroy();
  });
  socket.pause();
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(
    `POST /v1/completions HTTP/1.1\r\nhost: ${hostname}\r\nauthorization: Bearer ${key}\r\n` +
      `content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return socket;
}

describe('fairness', () => {
  it('answers a short request of one key within a second, while another key has 60 streams that nobody reads', {
    retry: 2,
  }, async () => {
    const { server } = await serve(model, { http: { keys: ['one', 'two'], limits: { maxTokens: 1 << 20 } } });
    await Promise.all(Array.from({ length: 60 }, () => unread(server.url, 'one')));
    while (server.runner.active < server.runner.parallel) await sleep(10);
    await sleep(500);
    for (let request = 0; request < 3; request++) {
      const started = performance.now();
      const answer = await fetch(`${server.url}/v1/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer two' },
        body: JSON.stringify({ prompt: 'One', max_tokens: 3 }),
      });
      expect(answer.status).toBe(200);
      await answer.text();
      expect(performance.now() - started).toBeLessThan(1000);
    }
  });

  it('takes as many prompts in one request as it promises, on a server with few places to wait', async () => {
    const { client } = await serve(model, { runner: { maxQueue: 4 } });
    const prompt = Array.from({ length: 256 }, (_, index) => `Number ${index}`);
    const { choices } = await client.completions.create({ model: 'tiny', prompt, max_tokens: 1 });
    expect(z.array(z.object({ index: z.int() })).parse(choices)).toHaveLength(256);
  });

  it('drains within 10 s though a client reads nothing', async () => {
    const { server } = await serve(model, { http: { limits: { maxTokens: 1 << 20 } } });
    // Large events, so that the buffers of the network are soon full.
    await unread(server.url, 'none', { n: 8, logprobs: 20, temperature: 1 });
    const rounds = async (): Promise<string | undefined> => {
      const page = await (await fetch(`${server.url}/metrics`)).text();
      return /linnet_decode_rounds_total (\d+)/.exec(page)?.[1];
    };
    for (let before = ''; server.runner.active === 0 || before !== (await rounds()); ) {
      before = (await rounds()) ?? '';
      await sleep(500);
    }
    const started = performance.now();
    await server.drain();
    expect(performance.now() - started).toBeLessThan(10_000);
  }, 60_000);
});
