/** Hostile requests by the thousand; `bench/serving/fuzz.ts` sends more. */
import { Agent } from 'node:http';
import { expect, it } from 'vitest';
import { hostileRequest, meantFaults, sendHostile, sendPipelined, statusesOf } from './hostile-requests.ts';
import { chatTemplate, openTiny, serve } from './served.ts';

it('answers 1000 hostile requests without a fault that is not meant', async () => {
  await using model = await openTiny(chatTemplate);
  const { server, logged } = await serve(model, { http: { limits: { maxTokens: 4, promptTokens: 512 } } });
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const statuses = new Set<number>();
  for (let from = 1; from <= 1000; from += 8) {
    const seeds = Array.from({ length: 8 }, (_, i) => from + i);
    await Promise.all(
      seeds.map(async (seed) => {
        const { status, text } = await sendHostile(server.url, hostileRequest(seed), agent);
        expect(status < 500 || meantFaults.has(status), `seed ${seed}: ${status} ${text}`).toBe(true);
        expect(text, `seed ${seed}`).not.toContain('"code":500');
        statuses.add(status);
      }),
    );
  }
  agent.destroy();
  expect([...statuses]).toEqual(expect.arrayContaining([200, 400, 404, 415, 501]));
  expect(logged.join('')).not.toContain('request failed');
  await expect.poll(() => server.runner.active).toBe(0);
});

it('answers hostile requests that come on a connection at once, one after the other', async () => {
  await using model = await openTiny(chatTemplate);
  const { server, logged } = await serve(model, { http: { limits: { maxTokens: 4, promptTokens: 512 } } });
  let whole = 0;
  for (let seed = 1; seed <= 600; seed += 6) {
    const requests = Array.from({ length: 6 }, (_, i) => hostileRequest(10_000 + seed + i));
    const answers = await sendPipelined(server.url, requests);
    const statuses = statusesOf(answers);
    expect(statuses.length, `seed ${seed}: ${answers.slice(0, 2000)}`).toBeGreaterThan(0);
    expect(statuses.length).toBeLessThanOrEqual(requests.length);
    for (const status of statuses)
      expect(status < 500 || meantFaults.has(status), `seed ${seed}: ${status}`).toBe(true);
    if (statuses.length === requests.length) whole++;
  }
  expect(whole).toBeGreaterThan(90);
  expect(logged.join('')).not.toContain('request failed');
  await expect.poll(() => server.runner.active).toBe(0);
});
