/** Answers of sessions after a restart of their server, over HTTP, against those of a server that reads whole texts. */
import { join } from 'node:path';
import { z } from 'zod';
import { startCli } from '../cli/cli-process.ts';
import { end, freePort, listening } from './local-process.ts';

const propsSchema = z.object({ same_bits: z.boolean() });
const sessionSchema = z.object({ id: z.string() });
const answerSchema = z.object({
  choices: z.tuple([z.object({ text: z.string(), logprobs: z.object({ token_logprobs: z.array(z.number()) }) })]),
});

/** A server of a model in a process of its own. */
class ServedProcess implements AsyncDisposable {
  readonly #url: string;
  readonly #child: ReturnType<typeof startCli>['child'];

  private constructor(url: string, child: ReturnType<typeof startCli>['child']) {
    this.#url = url;
    this.#child = child;
  }

  static async start(model: string, sessions: string): Promise<ServedProcess> {
    const port = await freePort();
    const words = ['serve', model, '--port', String(port), '--sessions', sessions, '--threads', '1'];
    const { child } = startCli([...words, '--drain-delay', '0']);
    await listening(port, child);
    return new ServedProcess(`http://127.0.0.1:${port}`, child);
  }

  async sameBits(): Promise<boolean> {
    return propsSchema.parse(await (await fetch(`${this.#url}/props`)).json()).same_bits;
  }

  async session(prompt: string): Promise<string> {
    return sessionSchema.parse(await this.#post('/v1/sessions', { prompt })).id;
  }

  /** The text of an answer, and the log-probability of each of its tokens, whose decimals tell all bits of it. */
  async answer(prompt: string, more: object = {}): Promise<string> {
    const body = { prompt, temperature: 0, max_tokens: 12, ignore_eos: true, logprobs: 1, ...more };
    const { choices } = answerSchema.parse(await this.#post('/v1/completions', body));
    return JSON.stringify(choices);
  }

  /** Ends as a service manager ends it, which drains. */
  async [Symbol.asyncDispose](): Promise<void> {
    await end(this.#child, 'SIGTERM');
  }

  async #post(path: string, body: object): Promise<unknown> {
    const headers = { 'content-type': 'application/json' };
    const response = await fetch(this.#url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.json();
  }
}

export interface RestartedAnswers {
  /** `same_bits` of /props. */
  readonly sameBits: boolean;
  readonly answers: number;
  /** Answers with another token, or another bit in a log-probability. */
  readonly differ: number;
}

/**
 * Sessions are made of beginnings by one process and answer the rest in the next; a third process, which has no sessions, answers to both
 * in one.
 * @param folder an empty one
 */
export async function restartedAnswers(
  model: string,
  texts: readonly (readonly [beginning: string, rest: string])[],
  folder: string,
): Promise<RestartedAnswers> {
  const sessions = join(folder, 'sessions');
  const ids: string[] = [];
  {
    await using server = await ServedProcess.start(model, sessions);
    for (const [beginning] of texts) ids.push(await server.session(beginning));
  }
  await using restarted = await ServedProcess.start(model, sessions);
  await using cold = await ServedProcess.start(model, join(folder, 'none'));
  let differ = 0;
  for (const [i, [beginning, rest]] of texts.entries()) {
    const warm = await restarted.answer(rest, { session_id: ids[i] });
    if (warm !== (await cold.answer(beginning + rest))) differ++;
  }
  return { sameBits: await restarted.sameBits(), answers: texts.length, differ };
}
