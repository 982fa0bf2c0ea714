/** `linnet serve`: a server with the API of OpenAI. */
import { basename, resolve } from 'node:path';
import { pino } from 'pino';
import { readTextFile } from '../../data/text-file.ts';
import { LookupDrafter } from '../../decoding/speculation/lookup-drafter.ts';
import { speculative } from '../../decoding/speculation/speculative.ts';
import { formatBytes } from '../../report/quantities.ts';
import { openServedModel } from '../../serving/served-model.ts';
import { FolderSessions } from '../../serving/sessions/session-store.ts';
import { startServer } from '../../serving/server.ts';
import { defineCommand, engineOptions, flag, optional, repeated, withDefault } from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { choice, integer, path, text } from '../framework/option-values.ts';
import { folderOf } from '../options/folder-parameters.ts';

export const serveCommand = defineCommand({
  description:
    'Serves a model to clients of the OpenAI API: completions, chats, sessions. Many texts are written at a time, each ' +
    'as it would be alone. The server answers this machine only, unless --host and --api-key say otherwise. Ctrl-C or ' +
    'SIGTERM lets what runs come to its end. Requests are logged on stderr as JSON, without what users write.',
  examples: [
    'linnet serve assets/tiny-llama',
    'linnet serve runs/augmented --port 8000 --parallel 16 --chat-template chat.jinja',
    'linnet serve runs/export --host 0.0.0.0 --api-key-file keys.txt --sessions runs/sessions',
  ],
  arguments: { model: folderOf('the model, exported or not') },
  options: {
    host: withDefault(text, '127.0.0.1', { placeholder: 'address', description: 'address to listen on' }),
    port: withDefault(integer({ min: 0, max: 65535 }), 8080, {
      placeholder: 'number',
      description: 'port to listen on; 0 takes a free one',
    }),
    alias: optional(text, { placeholder: 'name', description: 'what clients call the model (default: its folder)' }),
    apiKey: repeated(text, {
      placeholder: 'key',
      description: 'key of which a request must bring one; may be repeated',
    }),
    apiKeyFile: optional(path, { placeholder: 'file', description: 'file with such keys, one a line' }),
    cors: repeated(text, { placeholder: 'origin', description: 'origin whose pages may call the API; * is all' }),
    parallel: withDefault(integer({ min: 1, max: 1024 }), 8, {
      placeholder: 'count',
      description: 'texts written at a time',
    }),
    maxQueue: withDefault(integer({ min: 0, max: 1 << 20 }), 64, {
      placeholder: 'count',
      description: 'requests that may wait; more are refused with 429',
    }),
    promptChunk: withDefault(integer({ min: 1, max: 1024 }), 128, {
      placeholder: 'tokens',
      description: 'tokens of a prompt read between two tokens of the other texts',
    }),
    rate: optional(integer({ min: 1, max: 1 << 20 }), {
      placeholder: 'count',
      description: 'requests a minute and key (default: no limit)',
    }),
    timeout: withDefault(integer({ min: 1, max: 86400 }), 600, {
      placeholder: 'seconds',
      description: 'time that a request may take',
    }),
    stateCache: withDefault(integer({ min: 0, max: 1 << 20 }), 256, {
      placeholder: 'MiB',
      description: 'memory for states of earlier prompts; 0 keeps none',
    }),
    sessions: optional(path, {
      placeholder: 'folder',
      description: 'folder for sessions, one file each (default: in memory, until the server ends)',
    }),
    slotSavePath: optional(path, {
      placeholder: 'folder',
      description: 'folder for /slots?action=save (default: slots cannot be saved)',
    }),
    chatTemplate: optional(path, { placeholder: 'file', description: 'chat template instead of that of the model' }),
    speculate: withDefault(choice(['off', 'lookup']), 'off', {
      placeholder: 'drafter',
      description: 'decode several tokens a step where the text repeats: lookup or off',
    }),
    inline: flag('run the engine on the thread that answers: less time a token for small models'),
    ...engineOptions,
  },
  async run(context, options) {
    const keys = await keysOf(options);
    const template = options.chatTemplate === undefined ? undefined : await readTextFile(options.chatTemplate);
    await using model = await openServedModel(options.model, {
      name: options.alias ?? basename(resolve(options.model)),
      chatTemplate: template,
      readsTexts: true,
      device: options.device,
      threads: options.threads,
      worker: !options.inline,
    });
    const signal = context.signal;
    const log = pino(
      { base: null },
      {
        write: (line: string) => {
          context.note(line.trimEnd());
        },
      },
    );
    const server = await startServer(model, {
      host: options.host,
      port: options.port,
      keys,
      origins: options.cors,
      parallel: options.parallel,
      maxQueue: options.maxQueue,
      chunk: options.promptChunk,
      rate: options.rate,
      cacheBytes: options.stateCache * 2 ** 20,
      sessions: options.sessions === undefined ? undefined : await FolderSessions.open(options.sessions, model),
      slotFolder: options.slotSavePath,
      limits: { timeout: options.timeout },
      method: options.speculate === 'lookup' ? () => speculative(new LookupDrafter()) : undefined,
      log,
    });
    const { engine } = model;
    const state = engine.readsText ? '' : `, ${formatBytes(engine.newState().bytes)} of state each`;
    context.print(`${model.name} at ${server.url}/v1: ${options.parallel} texts at a time${state}`);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => {
        resolve();
      });
    });
    await server.drain();
    context.note('drained');
    return { json: { url: server.url, model: model.name, drained: true } };
  },
});

/** Keys of the command line and of the file. @throws UsageError for a file without keys, or one key twice */
async function keysOf({ apiKey, apiKeyFile }: { apiKey: readonly string[]; apiKeyFile?: string }): Promise<string[]> {
  const lines =
    apiKeyFile === undefined ? [] : (await readTextFile(apiKeyFile)).split(/\r?\n/).map((line) => line.trim());
  const keys = [...apiKey, ...lines.filter((line) => line !== '' && !line.startsWith('#'))];
  if (apiKeyFile !== undefined && keys.length === apiKey.length) throw new UsageError(`${apiKeyFile} holds no key`);
  if (new Set(keys).size !== keys.length) throw new UsageError('an API key is given twice');
  return keys;
}
