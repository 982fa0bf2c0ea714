/**
 * Next-token probabilities and greedy tokens of tiny GGUF models, compared with llama.cpp for each architecture and type: see README.md next
 * to this file. `node --import tsx bench/peers/parity.ts --models FOLDER`; rows as JSON on the last line with `--json`.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chain } from '../../src/attention/tree.ts';
import { loadModel } from '../../src/checkpoint/load-model.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { requireCausal } from '../../src/models/families/index.ts';
import { open } from '../../src/open/index.ts';
import { Random } from '../../src/random.ts';
import { makeTable, textTable } from '../../src/report/table.ts';
import type { GreedyAnswer, GreedyRequest } from './greedy.ts';
import { runTypeScript } from './linnet.ts';
import { fittedHead, type TinyType, tinyTypes, writeTinyGguf } from './tiny-gguf.ts';

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: '../shared/fixtures/golden-gguf' },
    architectures: { type: 'string' },
    types: { type: 'string', default: tinyTypes.join(',') },
    json: { type: 'boolean', default: false },
  },
});

/** Texts per model, their prompt length in ids, and the number of generated tokens. */
const [texts, start, count] = [3, 8, 32];
/** The logit of the fitted token; all others are near 0. */
const peak = 8;

/** A model against llama.cpp. Distances are maxima over log-probabilities of all tokens at all positions. */
interface ParityRow {
  readonly architecture: string;
  readonly type: TinyType;
  readonly tokens: number;
  /** Greedy tokens that match llama.cpp's at the same position. */
  readonly equal: number;
  readonly distance: number;
  /** Distance of our logits, and of llama.cpp's, from the decoded weights with float32 activations. */
  readonly ours: number;
  readonly theirs: number;
}

const folder = await mkdtemp(join(tmpdir(), 'linnet-parity-'));
try {
  const rows = await compare();
  if (values.json) console.log(JSON.stringify(rows));
  else print(rows);
} finally {
  await rm(folder, { recursive: true });
}

async function compare(): Promise<ParityRow[]> {
  const known = (await readdir(values.models)).filter((name) => name.endsWith('-q4_k') && name !== 'bert-q4_k');
  const asked = values.architectures?.split(',') ?? known.map((name) => name.slice(0, -'-q4_k'.length));
  const types = values.types
    .split(',')
    .map((name) => tinyTypes.find((type) => type === name) ?? fail(`no type ${name}`));
  const requests: (GreedyRequest & { readonly architecture: string; readonly type: TinyType })[] = [];
  for (const architecture of asked) {
    const template = join(values.models, `${architecture}-q4_k`, 'model.gguf');
    for (const type of types) {
      const model = join(folder, `${architecture}-${type}.gguf`);
      const sequences = await writeFitted(model, template, type);
      requests.push({ model, sequences, count, probabilities: true, architecture, type });
    }
  }
  const script = fileURLToPath(new URL('greedy.ts', import.meta.url));
  const printed = await runTypeScript(script, [JSON.stringify(requests)]);
  const answers = JSON.parse(printed.trim().split('\n').at(-1) ?? '') as GreedyAnswer[][];
  const rows: ParityRow[] = [];
  for (const [i, { architecture, type, model, sequences }] of requests.entries()) {
    rows.push({ architecture, type, ...(await against(model, sequences, answers[i])) });
  }
  return rows;
}

function fail(message: string): never {
  throw new Error(message);
}

/** Writes a model whose head is fitted to random texts. @returns the texts' prompts */
async function writeFitted(path: string, template: string, type: TinyType): Promise<number[][]> {
  await writeTinyGguf(path, template, type);
  await using engine = await exactEngine(path);
  const { vocabulary } = engine.model.sizes;
  const random = new Random(11);
  const sequences = Array.from({ length: texts }, () =>
    Array.from({ length: start + count }, () => random.integer(vocabulary)),
  );
  const hidden: Float32Array[] = [];
  for (const tokens of sequences) {
    const read = await rowsOf(engine, tokens);
    hidden.push(...read.hidden.slice(start - 1, -1).map((row) => row.slice()));
  }
  const targets = sequences.flatMap((tokens) => tokens.slice(start));
  await writeTinyGguf(path, template, type, fittedHead(hidden, targets, vocabulary, peak));
  return sequences.map((tokens) => tokens.slice(0, start));
}

/** Computes with the decoded weights. */
async function exactEngine(path: string): Promise<DecodingEngine> {
  const { model, parameters } = await loadModel(path);
  return await DecodingEngine.create(requireCausal(model), parameters, { threads: 1 });
}

async function rowsOf(engine: StepEngine, tokens: readonly number[]) {
  const request = { state: engine.newState(), tree: chain(tokens.length), tokens, wanted: [...tokens.keys()] };
  const [output] = await engine.step([request]);
  return output;
}

function logProbabilities(logits: Float32Array): number[] {
  const most = Math.max(...logits);
  const norm = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) + most;
  return Array.from(logits, (logit) => logit - norm);
}

function farthest(one: readonly number[][], other: readonly number[][]): number {
  return Math.max(...one.flatMap((row, at) => row.map((value, token) => Math.abs(value - other[at][token]))));
}

async function against(path: string, sequences: readonly (readonly number[])[], answers: readonly GreedyAnswer[]) {
  await using model = await open(path, { threads: 1 });
  await using exact = await exactEngine(path);
  const engine = await model.engine();
  let equal = 0;
  const distances = { distance: 0, ours: 0, theirs: 0 };
  for (const [i, { tokens, probabilities }] of answers.entries()) {
    const own = await greedy(engine, sequences[i]);
    equal += tokens.filter((token, at) => token === own[at]).length;
    const text = [...sequences[i], ...tokens.slice(0, -1)];
    const here = (await rowsOf(engine, text)).logits.map(logProbabilities);
    const best = (await rowsOf(exact, text)).logits.map(logProbabilities);
    const there = probabilities.map((row) => row.map((value) => Math.log(Math.max(value, 1e-30))));
    distances.distance = Math.max(distances.distance, farthest(here, there));
    distances.ours = Math.max(distances.ours, farthest(here, best));
    distances.theirs = Math.max(distances.theirs, farthest(there, best));
  }
  return { tokens: count * answers.length, equal, ...distances };
}

async function greedy(engine: StepEngine, ids: readonly number[]): Promise<number[]> {
  const state = engine.newState();
  const tokens: number[] = [];
  for (
    let { logits } = await engine.prefill(state, ids);
    ;
    { logits } = await engine.advance(state, tokens[tokens.length - 1])
  ) {
    tokens.push(logits.indexOf(Math.max(...logits)));
    if (tokens.length === count) return tokens;
  }
}

function print(rows: readonly ParityRow[]): void {
  const number = (value: number): string => value.toPrecision(2);
  console.log(
    textTable(
      makeTable<ParityRow>(
        [
          { header: 'architecture', value: ({ architecture }) => architecture },
          { header: 'type', value: ({ type }) => type },
          { header: 'greedy tokens', value: ({ tokens }) => tokens },
          { header: 'equal', value: ({ equal }) => equal },
          { header: 'largest |Δ log p|', value: ({ distance }) => distance, format: number },
          { header: 'ours to exact', value: ({ ours }) => ours, format: number },
          { header: 'llama.cpp to exact', value: ({ theirs }) => theirs, format: number },
        ],
        rows,
      ),
    ),
  );
  const sum = (of: (row: ParityRow) => number): number => rows.reduce((all, row) => all + of(row), 0);
  console.log(`${sum(({ equal }) => equal)} of ${sum(({ tokens }) => tokens)} greedy tokens are equal`);
}
