/** Servers for tests, on a free port of the loopback address. */
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { generateToEnd } from '../../src/engine/generate.ts';
import type { TextModel } from '../../src/engine/text-model.ts';
import { type RunningServer, type ServerOptions, startServer } from '../../src/serving/server.ts';
import { openCausal } from '../../src/open/running-model.ts';

export const tinyLlamaFolder = fileURLToPath(new URL('../../assets/tiny-llama', import.meta.url));

/** A template with control tokens around the messages. */
export const chatTemplate =
  "{{ bos_token }}{% for message in messages %}{{ message.role + ': ' + message.content + eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

export function openTiny(
  template?: string,
  { folder = tinyLlamaFolder, name = 'tiny' }: { readonly folder?: string; readonly name?: string } = {},
): Promise<TextModel> {
  return openCausal(folder, { name, chatTemplate: template, threads: 1 });
}

export interface Served {
  readonly server: RunningServer;
  readonly client: OpenAI;
  /** What was logged, as lines of JSON. */
  readonly logged: readonly string[];
}

/** Starts a server that is drained when the test is over. */
export async function serve(model: TextModel, options: Partial<ServerOptions> = {}): Promise<Served> {
  const logged: string[] = [];
  const log = pino({}, { write: (line: string) => logged.push(line) });
  const server = await startServer(model, { port: 0, log, ...options });
  onTestFinished(() => server.drain());
  const apiKey = options.keys?.[0] ?? 'none';
  return { server, logged, client: new OpenAI({ apiKey, baseURL: `${server.url}/v1`, maxRetries: 0 }) };
}

/** The text that follows a prompt, by `generate`. */
export async function continued(model: TextModel, prompt: string, maxTokens: number): Promise<string> {
  const promptTokens = model.tokenizer.encode(prompt, { bos: true });
  const { text } = await generateToEnd(model.engine, { promptTokens, maxTokens, tokenizer: model.tokenizer });
  return text;
}
