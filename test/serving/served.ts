/** Servers for tests, on a free port of the loopback address. */
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import type { LanguageModel } from '../../src/open/language-model.ts';
import type { ServedWriter } from '../../src/serving/http/request-context.ts';
import type { StateModel } from '../../src/engine/session-store.ts';
import { type HttpOptions, type RunningServer, type ServerOptions, startServer } from '../../src/serving/server.ts';
import { open } from '../../src/open/index.ts';

export const tinyLlamaFolder = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));

/** A template with control tokens around the messages. */
export const chatTemplate =
  "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content + eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

export function openTiny(
  template?: string,
  { folder = tinyLlamaFolder, name = 'tiny' }: { readonly folder?: string; readonly name?: string } = {},
): Promise<LanguageModel> {
  return open(folder, { name, chatTemplate: template, threads: 1 });
}

/** Options of a server besides port and log. */
export interface ServedOptions extends Partial<Omit<ServerOptions, 'http'>> {
  readonly http?: Partial<HttpOptions>;
}

export interface Served {
  readonly server: RunningServer;
  readonly client: OpenAI;
  /** What was logged, as lines of JSON. */
  readonly logged: readonly string[];
}

/** A model as stores of states know it. */
export async function storedModel(model: LanguageModel): Promise<StateModel> {
  return { engine: await model.engine(), fingerprint: model.fingerprint };
}

/** Starts a server that is drained when the test is over. */
export async function serve(model: ServedWriter, { http, ...options }: ServedOptions = {}): Promise<Served> {
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => logged.push(line) });
  const server = await startServer(model, { ...options, http: { port: 0, log, ...http } });
  onTestFinished(() => server.drain());
  const apiKey = http?.keys?.[0] ?? 'none';
  return { server, logged, client: new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 }) };
}

/** The text that follows a prompt, by `generate`. */
export async function continued(model: LanguageModel, prompt: string, maxTokens: number): Promise<string> {
  const tokens = model.tokenizer.encode(prompt, { bos: true });
  return await model.session().continueTokens(tokens, { maxTokens }).text();
}
