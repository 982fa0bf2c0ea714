/** Readers of what runs leave behind: sessions, snapshots, records, progress, locks; and of requests. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { pino } from 'pino';
import { examineDownload, writeDownloadRecord } from '../../src/checkpoint/hub/hub.ts';
import { loadCausalModel } from '../../src/checkpoint/load-model.ts';
import { newProgress, progressFile } from '../../src/conversion/progress-file.ts';
import { RunFolder } from '../../src/files/run-folder.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { LearnedTexts } from '../../src/decoding/speculation/drafters/registry.ts';
import { restoreSession, saveSession } from '../../src/decoding/state/session-file.ts';
import { LinnetError } from '../../src/errors.ts';
import { openJournal } from '../../src/evaluation/tasks/journal.ts';
import { lockFolder } from '../../src/files/folder-lock.ts';
import { listWrittenFiles, requireReplaceable, WRITTEN_FILES } from '../../src/files/written-folder.ts';
import { float32 } from '../../src/graph/tensor.ts';
import { openRun, readRun } from '../../src/report/record.ts';
import { ApiKeys } from '../../src/serving/http/access.ts';
import { createApi } from '../../src/serving/http/app.ts';
import type { Serving } from '../../src/serving/http/request-context.ts';
import { textApi } from '../../src/serving/http/text-api.ts';
import { defaultLimits } from '../../src/serving/http/limits.ts';
import { BodyBudget } from '../../src/serving/http/request-fields.ts';
import { ServerMetrics } from '../../src/serving/http/metrics.ts';
import { MemoryStore } from '../../src/serving/sessions/memory-store.ts';
import { Sessions } from '../../src/serving/sessions/sessions.ts';
import { Embeddings } from '../../src/engine/text/embeddings.ts';
import { ToolCalls } from '../../src/engine/tools/tool-calls.ts';
import { parameterBlocks } from '../../src/training/parameter-blocks.ts';
import { readSnapshot, writeSnapshot } from '../../src/training/snapshot.ts';
import { saveTinyModel } from '../models/tiny-model.ts';
import { chatTemplate, openTiny } from '../serving/served.ts';
import { asFile, type FuzzReader } from './reader.ts';

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** Readers, and what gives back their engines. */
export interface StateReaders extends AsyncDisposable {
  readonly readers: readonly FuzzReader[];
}

/** @param folder to write into */
export async function stateReaders(folder: string): Promise<StateReaders> {
  const model = join(folder, 'sessions');
  await saveTinyModel(model);
  const { model: described, parameters } = await loadCausalModel(model);
  const engine = await DecodingEngine.create(described, parameters, { threads: 1 });
  const requests = await requestReaders();
  const readers = [
    await sessionReader(model, engine),
    await snapshotReader(join(folder, 'snapshots')),
    await recordReader(join(folder, 'run'), 'run.json', 'json'),
    await recordReader(join(folder, 'run2'), 'metrics.jsonl', 'json'),
    await progressReader(join(folder, 'conversion')),
    await downloadReader(join(folder, 'download')),
    await journalReader(folder),
    await lockReader(join(folder, 'lock')),
    await listReader(join(folder, 'written')),
    ...requests.readers,
  ];
  return {
    readers,
    async [Symbol.asyncDispose]() {
      await engine.dispose();
      await requests[Symbol.asyncDispose]();
    },
  };
}

async function sessionReader(folder: string, engine: DecodingEngine): Promise<FuzzReader> {
  const path = join(folder, 'talk.session');
  const state = engine.newState();
  for (const token of [256, 72, 105, 33]) await engine.advance(state, token);
  const texts = new LearnedTexts();
  texts.successors.learn(
    72,
    Float32Array.from({ length: 256 }, (_, token) => token % 17),
  );
  const { saved: learned } = texts;
  const tokens = [256, 72, 105, 33, 10];
  await saveSession(path, { state, tokens, random: [1, 2, 3, 4], learned, fingerprint: 'it' });
  const original = await restoreSession(path, engine, 'it');
  const write = asFile(folder, 'fuzzed.session');
  return {
    name: 'session file',
    kind: 'binary',
    samples: [await readFile(path)],
    cost: 30,
    read: (bytes) => restoreSession(write(bytes), engine, 'it'),
    isOriginal(result) {
      const partsOf = ({ state: { length, layers }, ...parts }: typeof original) => [length, layers, parts];
      return isDeepStrictEqual(partsOf(result as typeof original), partsOf(original));
    },
  };
}

async function snapshotReader(folder: string): Promise<FuzzReader> {
  await mkdir(folder);
  const blocks = parameterBlocks(new Map([['weight', { shape: [2, 3] }]]));
  const values = (first: number) => new Map([['weight', float32([2, 3], [first, 1, 2, 3, 4, 5])]]);
  const state = { parameters: values(0.5), first: values(-1), second: values(2) };
  const position = { update: 3, cursor: { epoch: 1, index: 2, seed: 7 }, tokens: 96, losses: [4.5, 1 / 3, 2] };
  await writeSnapshot(folder, position, state, 'run');
  const name = 'update-000000003.safetensors';
  const samples = [await readFile(join(folder, name))];
  const original = await readSnapshot(folder, blocks, 'run');
  const write = asFile(folder, name);
  return {
    name: 'snapshot of a training',
    kind: 'binary',
    samples,
    cost: 12,
    read(bytes) {
      write(bytes);
      return readSnapshot(folder, blocks, 'run');
    },
    isOriginal: (result) => isDeepStrictEqual(result, original),
  };
}

async function recordReader(folder: string, name: string, kind: 'json' | 'text'): Promise<FuzzReader> {
  const run = await openRun(folder, { command: ['linnet', 'finetune'], configuration: { a: 1 }, seed: 3 });
  run.log({ step: 1, loss: 2.5 });
  run.log({ step: 2, loss: Number.NaN });
  await run.finish('finished');
  const write = asFile(folder, name);
  return {
    name: `record of a run, ${name}`,
    kind,
    samples: [await readFile(join(folder, name))],
    cost: 12,
    read(bytes) {
      write(bytes);
      return readRun(folder);
    },
  };
}

async function progressReader(folder: string): Promise<FuzzReader> {
  await mkdir(folder);
  const sensitivity = [{ layer: 0, perplexity: 3, textLoss: 1, recallLoss: 2 }];
  const run = new RunFolder(folder);
  await run.write(progressFile, newProgress({ identity: 'a', keptLayers: [0], sensitivity, original: 3 }));
  const write = asFile(folder, 'conversion.json');
  return {
    name: 'progress of a conversion',
    kind: 'json',
    samples: [await readFile(join(folder, 'conversion.json'))],
    cost: 6,
    read(bytes) {
      write(bytes);
      return run.load(progressFile);
    },
  };
}

async function downloadReader(folder: string): Promise<FuzzReader> {
  await mkdir(folder);
  const sha256 = createHash('sha256').digest('hex');
  const record = { id: 'a/b', commit: 'c', files: { x: { size: 0, sha256 } }, selection: { include: [], exclude: [] } };
  await writeDownloadRecord(folder, record);
  await writeFile(join(folder, 'x'), '');
  const write = asFile(folder, 'linnet-source.json');
  return {
    name: 'record of a download',
    kind: 'json',
    samples: [await readFile(join(folder, 'linnet-source.json'))],
    cost: 8,
    read(bytes) {
      write(bytes);
      return examineDownload(folder, 'a/b');
    },
  };
}

async function journalReader(folder: string): Promise<FuzzReader> {
  const path = join(folder, 'answers.jsonl');
  const journal = await openJournal(path);
  journal.add([{ key: 'a', responses: [{ type: 'text', text: 'yes' }] as never }]);
  const samples = [await readFile(path)];
  const write = asFile(folder, 'answers.jsonl');
  return {
    name: 'journal of answers',
    kind: 'json',
    samples,
    cost: 6,
    read: (bytes) => openJournal(write(bytes)),
  };
}

async function lockReader(folder: string): Promise<FuzzReader> {
  await (await lockFolder(folder))[Symbol.asyncDispose]();
  await mkdir(folder, { recursive: true });
  const write = asFile(folder, 'lock.json');
  const path = join(folder, 'lock.json');
  return {
    name: 'lock of a folder',
    kind: 'json',
    samples: [json({ pid: 4_194_305, host: hostname(), begun: null, nonce: 'a' })], // no process has that id
    cost: 12,
    async read(bytes) {
      write(bytes);
      try {
        await (await lockFolder(folder))[Symbol.asyncDispose]();
      } finally {
        await rm(path, { force: true });
      }
    },
  };
}

async function listReader(folder: string): Promise<FuzzReader> {
  await mkdir(folder);
  await writeFile(join(folder, 'a'), '');
  await listWrittenFiles(folder);
  const write = asFile(folder, WRITTEN_FILES);
  const samples = [await readFile(join(folder, WRITTEN_FILES))];
  return {
    name: 'list of written files',
    kind: 'json',
    samples,
    cost: 12,
    read(bytes) {
      write(bytes);
      return requireReplaceable(folder);
    },
  };
}

/** Bodies of requests, given to the whole server but for its socket. An answer of 5xx is a failure. */
async function requestReaders(): Promise<StateReaders> {
  const served = await openTiny(chatTemplate);
  const runner = await served.runner();
  const sessions = new Sessions(new MemoryStore());
  const serving = {
    ...{ model: served, runner, sessions, metrics: new ServerMetrics() },
    calls: new ToolCalls(served),
    responses: new MemoryStore({ maxBytes: 1 << 20 }),
    embeddings: new Embeddings(runner.engine, served.tokenizer, runner.parallel, 200),
    limits: { ...defaultLimits, maxTokens: 4, promptTokens: 400, timeout: 20 },
    contextSize: 400,
    ...{ keys: new ApiKeys([]), log: pino({ enabled: false }) },
    ...{ localOnly: false, origins: [], draining: false, end: new AbortController(), bodies: new BodyBudget(64 << 20) },
  };
  const api = createApi<Serving>(serving, textApi(served));
  const sampling = { temperature: 1, top_p: 0.9, seed: 3, max_tokens: 2, stop: ['x'], logit_bias: { '5': 1 } };
  const parameters = { type: 'object', properties: { a: { type: 'integer', minimum: 0 }, b: { enum: ['x', 1] } } };
  const calling = {
    tools: [{ type: 'function', function: { name: 'add', description: 'adds', parameters, strict: true } }],
    parallel_tool_calls: false,
  };
  const messages = [
    { role: 'system', content: 'be kind' },
    { role: 'user', content: [{ type: 'text', text: 'hello' }] },
  ];
  const bodies: Readonly<Record<string, readonly unknown[]>> = {
    '/v1/completions': [
      { model: 'tiny', prompt: 'One', ...sampling, logprobs: 2, echo: true },
      { prompt: [[1, 2], [3]], max_tokens: 1, n: 2, stream: true, stream_options: { include_usage: true } },
    ],
    '/v1/chat/completions': [
      { messages, ...sampling, logprobs: true, top_logprobs: 1, stream: true },
      { messages, ...calling, tool_choice: { type: 'function', function: { name: 'add' } }, max_tokens: 3 },
    ],
    '/v1/sessions': [{ prompt: 'One' }],
    '/tokenize': [{ prompt: 'One', add_special_tokens: true }],
    '/detokenize': [{ tokens: [1, 2, 3] }],
    '/apply-template': [{ messages }],
  };
  const readers = Object.entries(bodies).map(([path, samples]): FuzzReader => {
    return {
      name: `body of ${path}`,
      kind: 'json',
      samples: samples.map(json),
      cost: path.includes('completions') ? 200 : 20,
      async read(bytes) {
        const headers = { 'content-type': 'application/json' };
        const response = await api.request(path, { method: 'POST', body: new Uint8Array(bytes), headers });
        const answer = await response.text();
        if (response.status >= 500) throw new Error(`${response.status} ${answer.slice(0, 300)}`);
        if (response.status >= 400) throw new LinnetError('INPUT', answer);
        return answer.length;
      },
    };
  });
  return { readers, [Symbol.asyncDispose]: () => served[Symbol.asyncDispose]() };
}
