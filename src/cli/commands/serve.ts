/** `linnet serve`: a server with the API of OpenAI. */
import { once } from 'node:events';
import { basename, resolve } from 'node:path';
import { type Logger, pino } from 'pino';
import { OptionsError } from '../../errors.ts';
import { readTextFile } from '../../data/files/text-file.ts';
import { formatBytes } from '../../report/quantities.ts';
import { isRedisUrl } from '../../redis/client.ts';
import { defaultLimits } from '../../serving/http/limits.ts';
import { metricDialects } from '../../serving/http/metrics.ts';
import { readPage } from '../../serving/http/page.ts';
import type { Listening } from '../../serving/listen.ts';
import { startEncoderServer } from '../../serving/encoders/encoder-server.ts';
import { enginePlacements, placeEngine } from '../../serving/engine-placement.ts';
import { open } from '../../open/index.ts';
import { openedKinds } from '../../open/opened-model.ts';
import { folderStore, scratchStore } from '../../serving/sessions/folder-store.ts';
import { MemoryStore } from '../../serving/sessions/memory-store.ts';
import type { StateModel } from '../../engine/session-store.ts';
import { openSharedState } from '../../serving/sessions/shared-state.ts';
import { type HttpOptions, startServer, type StoreOptions } from '../../serving/server.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import { modelStateBytes } from '../../models/graphs/model-layout.ts';
import { drafters } from '../../decoding/speculation/drafters/registry.ts';
import { defineCommand, engineOptions, flag, optional, repeated, withDefault, settings } from '../framework/command.ts';
import type { CommandContext } from '../framework/context.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { byteCount, called, choice, filePath, integer, text, textList, wordList } from '../framework/option-values.ts';
import { chatOptions } from '../options/chat-options.ts';
import { modelNamed } from '../options/model-options.ts';
import { fetchedModel } from '../options/hub-options.ts';
import { memoryOption } from '../options/memory-option.ts';
import { noteTokenizer } from '../output/model-summary.ts';

/** Requests name no longer one. */
const mostNameCharacters = 512;

export const serveCommand = defineCommand({
  description:
    'Serves a model over the OpenAI API: completions, chats, sessions. It generates many texts at once, each as if it were alone, and answers only ' +
    'this machine unless --host and --api-key say otherwise. A classifier answers with classes, an encoder with vectors. After Ctrl-C or SIGTERM, ' +
    'running texts have up to --drain-timeout seconds to finish. Requests are logged on stderr as JSON, without user content.',
  examples: [
    'linnet serve linnet:tiny-llama',
    'linnet serve LiquidAI/LFM2-350M --port 8000',
    'linnet serve runs/augmented --port 8000 --parallel 16 --chat-template chat.jinja',
    'linnet serve runs/export --host 0.0.0.0 --api-key-file keys.txt --sessions runs/sessions',
    'linnet serve runs/export --port 8001 --sessions redis://127.0.0.1:6379',
  ],
  arguments: { model: modelNamed },
  options: {
    host: withDefault(called('address', text), '127.0.0.1', 'address to listen on'),
    port: withDefault(integer(0, 65535, 'number'), 8080, 'port to listen on; 0 takes a free one'),
    servedModelName: repeated(
      called('names', textList(mostNameCharacters)),
      'comma-separated model names for clients; answers repeat the requested name (default: the ' + 'folder)',
    ),
    anyModel: flag('answer requests for any model name'),
    apiKey: repeated(called('key', text), 'API key that requests must present; repeat to accept several'),
    apiKeyFile: optional(filePath, 'file of API keys, one per line'),
    parallel: withDefault(integer(1, 1024), 8, 'texts generated at once'),
    deterministic: flag('compute each text in its own steps: bit-identical whatever else runs, but slower'),
    sessions: optional(
      called('place', text),
      'folder for sessions, or redis://… for servers that share sessions, prompt states and rates (default: a temporary ' +
        'folder, removed when the server ends)',
    ),
    ...chatOptions,
    speculate: withDefault(
      choice([...drafters, 'mtp'], 'drafter'),
      'off',
      'decode several tokens per step if that is faster, drafted by lookup (repetitions in the text), suffix (also earlier texts of the API key), ' +
        'recycle (tokens the model considered), auto (suffix, then recycle), mtp (its multi-token prediction layer) or off',
    ),
    ...engineOptions,
    engine: withDefault(
      choice(enginePlacements, 'place'),
      'auto',
      'where the engine runs: on its own thread, inline on the thread that answers, or auto: inline with one ' +
        'thread and up to 16 MiB of weights',
    ),
    ...settings({
      memory: memoryOption,
      cors: repeated(called('origin', text), 'origin whose pages may call the API; * allows all'),
      rate: optional(integer(1, 1 << 20), 'requests per minute and key (default: no limit)'),
      stateCache: withDefault(
        byteCount,
        256 * 2 ** 20,
        'memory for states of earlier prompts; 0 caches none',
        '256MiB',
      ),
      maxQueue: withDefault(integer(0, 1 << 20), 64, 'requests that may wait; others get 429'),
      promptChunk: optional(
        integer(1, 1024, 'tokens'),
        'prompt tokens per step, between steps of other texts (default: 128; 64 with delta-rule layers)',
      ),
      timeout: withDefault(integer(1, 86400, 'seconds'), 600, 'time limit of a request'),
      drainTimeout: withDefault(
        integer(0, 3600, 'seconds'),
        8,
        'time for running requests to finish after a signal to stop',
      ),
      drainDelay: withDefault(
        integer(0, 3600, 'seconds'),
        0,
        'time between a signal to stop and refusing new requests, for load balancers to notice',
      ),
      sessionCache: withDefault(
        byteCount,
        256 * 2 ** 20,
        'memory for recently used sessions; others stay on disk or in Redis',
        '256MiB',
      ),
      sessionTtl: optional(
        integer(1, defaultLimits.sessionSeconds, 'seconds'),
        'delete a session after this long without a turn (default: never)',
      ),
      metricsNames: optional(
        wordList(metricDialects),
        `also report /metrics under the names of these servers: ${metricDialects.join(', ')}`,
      ),
      openMetrics: flag('allow /metrics and /load without a key'),
      noUi: flag('do not serve the web page at /'),
    }),
  },
  replaced: { '--inline': '--engine inline', '--alias': '--served-model-name' },
  async run(context, options) {
    if (options.deterministic && options.speculate !== 'off') {
      throw new UsageError(
        '--deterministic cannot draft, since the clock decides how much is drafted; leave out --speculate',
      );
    }
    const keys = await keysOf(options);
    const { parallel, maxQueue, sessions, toolFormat, speculate, noUi } = options;
    const template = options.chatTemplate === undefined ? undefined : await readTextFile(options.chatTemplate);
    const log = pino(
      { base: null, level: context.quiet ? 'silent' : 'info' },
      { write: (line: string) => context.note(line.trimEnd()) },
    );
    const folder = await fetchedModel(context, options.model, options);
    const place = await placeEngine(folder, options.engine, options.threads);
    const names = options.servedModelName.flat();
    const usual = folder === resolve(options.model) ? [basename(folder)] : [options.model, basename(folder)];
    const [name, ...aliases] = new Set(names.length > 0 ? names : usual);
    const http: HttpOptions = {
      host: options.host,
      port: options.port,
      keys,
      origins: options.cors,
      rate: options.rate,
      log,
      aliases,
      anyModel: options.anyModel,
      openMetrics: options.openMetrics,
      drainDelay: options.drainDelay === 0 ? undefined : options.drainDelay,
      drainTimeout: options.drainTimeout,
      limits: { timeout: options.timeout },
    };
    const { device, memory, chatTemplate, promptChunk, sessionTtl, deterministic } = options;
    const opening = { name, device, memory, ...place, chatTemplate: template };
    await using model = await open(folder, { kind: openedKinds, ...opening });
    noteTokenizer(context, model.tokenizer);
    if (model.kind !== 'causal') {
      refuseIfGiven({ sessions, sessionTtl, chatTemplate, toolFormat, promptChunk }, 'continues its prompt');
    }
    if (model.kind === 'encoder' || model.kind === 'classifier') {
      refuseIfGiven({ speculate: speculate !== 'off' && speculate, deterministic }, 'generates text');
      const server = await startEncoderServer(model, { http, maxRequests: parallel + maxQueue });
      context.print(`${model.name} (${model.kind}) at ${server.url}`);
      return await untilStopped(context, server, model.name);
    }
    const isChat = model.kind === 'causal';
    const page = noUi || !isChat ? undefined : await readPage();
    const engine = await model.engine();
    await using mtp = speculate === 'mtp' ? await model.mtp() : undefined;
    const drafter = speculate === 'mtp' ? 'off' : speculate;
    await using states = await openSessions(options, { engine, fingerprint: model.fingerprint }, log);
    const server = await startServer(model, {
      http: { ...http, page, metricDialects: options.metricsNames },
      runner: { parallel, maxQueue, drafter, mtp, chunk: promptChunk, deterministic },
      stores: {
        cacheBytes: options.stateCache,
        sessions: states.sessions,
        sessionTtl,
        shared: states.shared,
      },
      toolFormat,
    });
    context.print(`${model.name} at ${server.url}/v1: ${parallel} texts at a time${stateOf(engine)}`);
    if (page !== undefined) context.print(`web page at ${server.url}/`);
    else if (!noUi && isChat) context.note('no web page: build it with npm run build (needs development dependencies)');
    return await untilStopped(context, server, model.name);
  },
});

/** @throws OptionsError for an option that the model has no use for. @param does what other models do */
function refuseIfGiven(options: Readonly<Record<string, unknown>>, does: string): void {
  const [option] = Object.entries(options).find(([, value]) => value !== undefined && value !== false) ?? [];
  if (option !== undefined) throw new OptionsError(`\`${option}\` needs a model that ${does}`);
}

/** The state of a text, and the bytes that each further token adds. An encoder-decoder's depends on its source. */
function stateOf({ stateBytes, model }: StepEngine): string {
  if (stateBytes === undefined) return '';
  const far = model.sizes.trainedLength;
  const growth = (modelStateBytes(model, 2 * far) - modelStateBytes(model, far)) / far;
  const growing = growth > 0 ? ` and ${formatBytes(growth)} a token` : '';
  return `, ${formatBytes(stateBytes)} of state each${growing}`;
}

/** Serves until the command is told to end, and lets running requests finish. */
async function untilStopped(context: CommandContext, server: Listening, model: string) {
  const { signal } = context;
  if (!signal.aborted) await once(signal, 'abort');
  await server.drain();
  context.note('drained');
  return { json: { url: server.url, model, drained: true } };
}

async function openSessions(
  { sessions: place, sessionCache }: { readonly sessions?: string; readonly sessionCache: number },
  model: StateModel,
  log: Logger,
): Promise<Pick<StoreOptions, 'sessions' | 'shared'> & AsyncDisposable> {
  const shared = place !== undefined && isRedisUrl(place) ? await openSharedState(place, model, log) : undefined;
  const inFolder = () => (place === undefined ? scratchStore(model) : folderStore(place, model));
  const sessions = new MemoryStore({ cold: shared?.sessions ?? (await inFolder()), maxBytes: sessionCache });
  return {
    sessions,
    shared,
    async [Symbol.asyncDispose]() {
      await sessions.close();
      await shared?.close();
    },
  };
}

/** Keys of the command line and of the file. @throws UsageError for a file without keys, or one key twice */
async function keysOf({ apiKey, apiKeyFile }: { apiKey: readonly string[]; apiKeyFile?: string }): Promise<string[]> {
  const lines =
    apiKeyFile === undefined ? [] : (await readTextFile(apiKeyFile)).split(/\r?\n/).map((line) => line.trim());
  const keys = [...apiKey, ...lines.filter((line) => line !== '' && !line.startsWith('#'))];
  if (apiKeyFile !== undefined && keys.length === apiKey.length)
    throw new UsageError(`${apiKeyFile} has no API key; write one per line`);
  if (new Set(keys).size !== keys.length) throw new UsageError('an API key is given twice');
  return keys;
}
