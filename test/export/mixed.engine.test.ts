/**
 * Exports of type mixed: prompts are read with w8a8 weights, all else runs with int4 weights. Next to plain exports of the
 * same model, and engines compiled from the same weights that share a state.
 */
import { createHash } from 'node:crypto';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { mixerPreset } from '../../src/attention/presets.ts';
import { DecodingEngine } from '../../src/decoding/engine.ts';
import { generateToEnd } from '../decoding/generated.ts';
import { Sampler } from '../../src/decoding/sampler.ts';
import { lookupDrafter } from '../../src/decoding/speculation/drafters/registry.ts';
import { ModelDrafter } from '../../src/decoding/speculation/drafters/model-drafter.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { StepEngine } from '../../src/decoding/step-engine.ts';
import { slidingWindows } from '../../src/evaluation/perplexity/scored-windows.ts';
import { stepPerplexity } from '../../src/evaluation/perplexity/perplexity.ts';
import { exportModel } from '../../src/export/export-model.ts';
import { readExportedFolder } from '../../src/open/folder-files.ts';
import { RandomWeights } from '../../src/export/random-weights.ts';
import type { StorageType } from '../../src/export/manifest.ts';
import { storedSource } from '../../src/export/encoded-graphs.ts';
import type { WeightType } from '../../src/quantization/sources.ts';
import { readerOf, type WeightReader } from '../../src/quantization/weight-reader.ts';
import type { Program } from '../../src/runtime/compile.ts';
import { loadTokenizer, type Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { augmentedTinyLlama, type ModelWithWeights, writeExportedModel } from './exported-model.ts';
import { roundsRowsApart } from '../processor.ts';
import { suiteFolder } from '../scratch-folder.ts';
import { tinyLlama } from '../models/tiny-llama.ts';
import { openReady } from '../open/ready-model.ts';

const place = suiteFolder();
const folderOf = (dtype: StorageType): string => join(place, dtype);
let subject: ModelWithWeights;
let tokenizer: Tokenizer;

beforeAll(async () => {
  subject = await augmentedTinyLlama();
  for (const dtype of ['mixed', 'int4', 'w8a8'] as const) {
    await writeExportedModel(folderOf(dtype), subject, { dtype, block: dtype === 'w8a8' ? undefined : 64 });
  }
  tokenizer = await loadTokenizer(folderOf('mixed'));
});

/** Shorter than a group, across one, and longer than a chunk of a prompt. */
const texts = ['Call me', 'The state of the union is strong, and the people of this nation '.repeat(2)];
const prompts = (): number[][] => {
  const long = tokenizer.encode(`${texts[1].repeat(8)} We`, { bos: true });
  expect(long.length).toBeGreaterThan(140);
  return [...texts.map((text) => [...tokenizer.encode(text, { bos: true })]), [...long.subarray(0, 141)]];
};

/** An engine of the model in memory, stored as one type. */
const compiled = (type: WeightType): Promise<DecodingEngine> => {
  const { model, parameters } = subject;
  const stored = { dtype: type, block: 64, device: 'cpu' } as const;
  return DecodingEngine.compile(model, storedSource(model, readerOf(parameters), stored));
};

describe('a mixed export', () => {
  it('holds the weights of both plain exports, and says so', async () => {
    const [mixed, int4, w8a8] = await Promise.all(
      (['mixed', 'int4', 'w8a8'] as const).map((dtype) => readExportedFolder(folderOf(dtype), { verify: true })),
    );
    expect(mixed.manifest).toMatchObject({ dtype: 'mixed', block: 64, folds: int4.manifest.folds });
    const { files } = mixed.manifest;
    for (const [name, file] of Object.entries(int4.manifest.files)) expect(files[name], name).toEqual(file);
    expect(files['prompt.onnx.data']).toEqual(w8a8.manifest.files['model.onnx.data']);
    const added = Object.keys(files).filter((name) => !Object.hasOwn(int4.manifest.files, name));
    expect(added.sort()).toEqual(['prompt.onnx', 'prompt.onnx.data']);
    expect(mixed.manifest.weightBytes).toBe(int4.manifest.weightBytes);
    expect(mixed.manifest.prompt).toEqual({ weightBytes: w8a8.manifest.weightBytes });
    expect(mixed.manifest.report).toEqual(int4.manifest.report);
    expect(int4.manifest).not.toHaveProperty('prompt');
    expect(new Set([mixed, int4, w8a8].map(({ fingerprint }) => fingerprint)).size).toBe(3);
  });

  it('writes what int4 weights write over a state that w8a8 weights have read, token for token', async () => {
    await using mixed = await openReady(folderOf('mixed'));
    await using reading = await compiled('w8a8');
    await using writing = await compiled('int4');
    for (const prompt of prompts()) {
      const state = reading.newState();
      const expected: number[] = [];
      let { logits, hidden } = await reading.prefill(state, prompt);
      const first = await mixed.engine.prefill(mixed.engine.newState(), prompt);
      expect([...first.logits]).toEqual([...logits]);
      expect([...first.hidden]).toEqual([...hidden]);
      const plain = await writing.prefill(writing.newState(), prompt);
      expect([...plain.logits]).not.toEqual([...logits]);
      const sampler = new Sampler();
      while (expected.length < 40) {
        expected.push(sampler.next(logits, [...prompt, ...expected]));
        ({ logits, hidden } = await writing.advance(state, expected[expected.length - 1]));
      }
      const found = await generateToEnd(mixed.engine, { promptTokens: prompt, maxTokens: 40, ignoreEos: true });
      expect(found.tokens).toEqual(expected);
    }
  });

  it('scores text with the weights that decode', async () => {
    await using mixed = await openReady(folderOf('mixed'));
    await using int4 = await openReady(folderOf('int4'));
    await using w8a8 = await openReady(folderOf('w8a8'));
    const windows = slidingWindows(tokenizer.encode(texts[1].repeat(3), { bos: true }), 61, 30);
    const [found, same, other] = await Promise.all(
      [mixed, int4, w8a8].map(({ engine }) => stepPerplexity(engine, { windows, documents: 1 })),
    );
    expect(found).toEqual(same);
    expect(found.nll).not.toBe(other.nll);
    // The last part of a text that is read by steps has the logits of int4 as well.
    const [prompt] = prompts();
    const byStep = await mixed.engine.prefill(mixed.engine.newState(), prompt, { weights: 'step' });
    const plain = await int4.engine.prefill(int4.engine.newState(), prompt);
    expect([...byStep.logits]).toEqual([...plain.logits]);
  });

  it('speculates exactly, greedily and sampled, also with itself as the draft model', async () => {
    // In blocks of 64 a row by itself adds up in another order, which draws at random can tell, as with int4 alone; without
    // AVX-512 it does in every block.
    const folder = join(place, 'speculating');
    await writeExportedModel(folder, subject, { dtype: 'mixed', block: 32 });
    await using mixed = await openReady(folder);
    const { engine } = mixed;
    const statistics = new SpeculationStatistics();
    for (const promptTokens of prompts()) {
      for (const temperature of roundsRowsApart === undefined ? [0, 0.7] : [0]) {
        const options = { promptTokens, maxTokens: 45, ignoreEos: true };
        const sampler = (): Sampler => new Sampler({ temperature, seed: 3 });
        const { tokens } = await generateToEnd(engine, { ...options, sampler: sampler() });
        for (const drafter of [lookupDrafter(), new ModelDrafter(engine, engine.model.sizes.vocabulary)]) {
          const method = speculative(drafter, { statistics });
          const found = await generateToEnd(engine, { ...options, sampler: sampler(), method });
          expect(found.tokens, `${drafter.name} at ${temperature}`).toEqual(tokens);
        }
      }
    }
    expect(statistics.summary.tokensPerStep).toBeGreaterThan(1.5);
  });

  it('is for cpu, and has blocks', async () => {
    const { model, parameters } = subject;
    const options = { model, weights: readerOf(parameters), dtype: 'mixed' } as const;
    await expect(exportModel(join(place, 'gpu'), { ...options, device: 'webgpu' })).rejects.toMatchObject({
      code: 'CONFIG',
    });
    expect((await exportModel(join(place, 'default'), options)).block).toBe(32);
  });
});

describe('opening a mixed export refuses', () => {
  const manifestSchema = z.looseObject({
    dtype: z.string(),
    files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
  });
  type Manifest = z.infer<typeof manifestSchema>;
  const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 })]);
  const folder = join(place, 'hostile');

  async function fresh(change: (manifest: Manifest) => void = () => undefined): Promise<void> {
    await rm(folder, { recursive: true, force: true });
    await exportModel(folder, { model, weights: new RandomWeights(model, 1), dtype: 'mixed' });
    const file = join(folder, 'linnet.json');
    const manifest = manifestSchema.parse(JSON.parse(await readFile(file, 'utf8')));
    change(manifest);
    await writeFile(file, JSON.stringify(manifest));
  }
  const opening = (): Promise<void> => openReady(folder).then(({ engine }) => engine.dispose());

  it('a prompt graph that is damaged, shortened or gone', async () => {
    await fresh();
    await opening();
    for (const name of ['prompt.onnx', 'prompt.onnx.data']) {
      const file = join(folder, name);
      const bytes = await readFile(file);
      await writeFile(file, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1));
      await expect(opening(), name).rejects.toThrow(new RegExp(`${name} does not match its checksum in linnet.json`));
      await truncate(file, bytes.length - 1);
      await expect(opening(), name).rejects.toMatchObject({ code: 'FORMAT' });
      await rm(file);
      await expect(opening(), name).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await writeFile(file, bytes);
    }
    await opening();
  });

  it('a prompt graph of another purpose, or with the weights of another file', async () => {
    await fresh();
    for (const [other, message] of [
      ['fold-0.onnx', /prompt\.onnx has the input ".*", which its configuration does not ask for/],
      ['model.onnx', /prompt\.onnx has a weight outside of prompt\.onnx\.data/],
    ] as const) {
      const bytes = await readFile(join(folder, other));
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      await fresh(({ files }) => (files['prompt.onnx'] = { bytes: bytes.length, sha256 }));
      await writeFile(join(folder, 'prompt.onnx'), bytes);
      await expect(opening(), other).rejects.toThrow(message);
    }
  });

  it.each<[string, (manifest: Manifest) => void, RegExp]>([
    ['mixed without a prompt graph', (m) => delete m.prompt, /as mixed without its prompt graph/],
    ['another type with one', (m) => (m.dtype = 'int4'), /as int4 with a prompt graph, which it does not have/],
    ['a prompt graph that is not listed', (m) => delete m.files['prompt.onnx'], /does not list the file prompt\.onnx/],
    ['weights that are not listed', (m) => delete m.files['prompt.onnx.data'], /outside of prompt\.onnx\.data/],
  ])('%s in linnet.json', async (_, change, message) => {
    await fresh(change);
    await expect(opening()).rejects.toThrow(message);
  });
});

it('is told apart from one with other weights for prompts', async () => {
  const model = tinyLlama([mixerPreset('augmented', { group: 8, kernel: 9 })]);
  const [weights, others] = [new RandomWeights(model, 1), new RandomWeights(model, 2)];
  const changed: WeightReader = {
    read: (name) => weights.read(name),
    part: (name, type) => (type.dtype === 'int8' ? others : weights).part(name, type),
  };
  const out = join(place, 'told');
  const prints: string[] = [];
  for (const reader of [weights, weights, changed]) {
    await exportModel(out, { model, weights: reader, dtype: 'mixed', replace: true });
    prints.push((await readExportedFolder(out)).fingerprint);
  }
  expect(prints[1]).toBe(prints[0]);
  expect(prints[2]).not.toBe(prints[0]);
});

describe('an engine with weights for prompts', () => {
  /** Counts the runs of a program. */
  class CountedProgram implements Program {
    runs = 0;
    readonly #program: Program;
    constructor(program: Program) {
      this.#program = program;
    }
    get inputs() {
      return this.#program.inputs;
    }
    get outputs() {
      return this.#program.outputs;
    }
    get statistics() {
      return this.#program.statistics;
    }
    get copiesFeeds() {
      return this.#program.copiesFeeds;
    }
    run: Program['run'] = (feeds, fetch, kept) => {
      this.runs++;
      return this.#program.run(feeds, fetch, kept);
    };
    profile: Program['profile'] = () => this.#program.profile();
    dispose(): Promise<void> {
      return this.#program.dispose();
    }
    [Symbol.asyncDispose](): Promise<void> {
      return this.dispose();
    }
  }

  it('reads prompts with them and nothing else, and a draft model the text at its beginning', async () => {
    const model = tinyLlama([{ kind: 'softmax' }]);
    const parameters = storedSource(model, new RandomWeights(model, 1), { dtype: 'f32', device: 'cpu' });
    const step = new CountedProgram((await DecodingEngine.compile(model, parameters)).program);
    const prompt = new CountedProgram((await DecodingEngine.compile(model, parameters)).program);
    await using engine = new StepEngine(model, step, new Map(), { prompt });
    const tokens = Int32Array.from({ length: 21 }, (_, i) => i);
    const state = engine.newState();
    await engine.prefill(state, tokens, { chunk: 8 });
    expect([prompt.runs, step.runs]).toEqual([3, 0]);
    await engine.advance(state, 1);
    // Single rows of so small a model run with a second row as well, to compare.
    expect([prompt.runs, step.runs]).toEqual([3, 2]);
    await generateToEnd(engine, { promptTokens: tokens, maxTokens: 5, ignoreEos: true });
    expect([prompt.runs, step.runs]).toEqual([4, 10]);

    await using verifying = new StepEngine(model, step, new Map());
    const method = speculative(new ModelDrafter(engine, model.sizes.vocabulary));
    const drafted = await generateToEnd(verifying, { promptTokens: tokens, maxTokens: 30, ignoreEos: true, method });
    expect(drafted.steps).toBeGreaterThan(3);
    expect(prompt.runs).toBe(5);
  });
});
