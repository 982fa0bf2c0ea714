/** A conversion whose process dies while a stage is being written down goes on to what an unbroken one ends with. */
import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { song } from '../../test/cli/text-data.ts';
import { saveTinyModel } from '../../test/models/tiny-model.ts';
import { suiteFolder } from '../../test/scratch-folder.ts';
import { loadCausalModel, saveModel } from '../checkpoint/load-model.ts';
import { loadTensors, residentTensors } from '../checkpoint/stored-parameter.ts';
import { withoutBranch } from '../attention/mixers.ts';
import { RunFolder } from '../files/run-folder.ts';
import { modelWithout } from '../models/linearization/linearize.ts';
import type { Tensor } from '../graph/tensor.ts';
import { loadTokenizer, type Tokenizer } from '../tokenizer/tokenizer.ts';
import { addedBranches, convert, type Conversion } from './convert.ts';
import { readConverted } from './converted-weights.ts';
import { isBetter, judgeNames, judgeOf, ownTextFile } from './judge.ts';
import type { ConversionOptions } from './options.ts';
import { openReader } from './stages.ts';
import { conversionTexts } from './texts.ts';

const folder = suiteFolder();
const at = (name: string): string => join(folder, name);
const steps = { transfer: 4, logits: 4, long: 4 };
let unbroken: Conversion<Tensor<'float32'>>;

async function textsFor(tokenizer: Tokenizer) {
  const documents = Array.from({ length: 12 }, (_, i) => ({ text: `${song} ${i} ${song}`, source: `${i}` }));
  return await conversionTexts(documents, tokenizer, { heldOut: 2, length: 64 });
}

async function run(name: string, more: Partial<ConversionOptions> = {}): Promise<Conversion<Tensor<'float32'>>> {
  const original = await loadCausalModel(at('base'));
  const tokenizer = await loadTokenizer(original.path);
  const texts = await textsFor(tokenizer);
  return await convert(original, tokenizer, texts, {
    budget: 0,
    steps,
    keep: { layers: [] },
    group: 4,
    batch: 2,
    folder: at(name),
    compile: { threads: 1 },
    ...more,
  });
}

beforeAll(async () => {
  await saveTinyModel(at('base'), 1, 'llama');
  // As published ones: the weights after a stage are kept in float32.
  await saveModel(at('base'), await loadCausalModel(at('base')), {
    dtype: 'F16',
    replace: true,
    tokenizerFiles: { from: at('base') },
  });
  unbroken = await run('unbroken');
});

it('keeps the weights of its best stage, and no others', async () => {
  const best = unbroken.progress.stages.filter(({ kept }) => kept).at(-1)?.name ?? '';
  expect(await readdir(join(at('unbroken'), 'best'))).toEqual([`${best}.safetensors`]);
  const original = await loadCausalModel(at('base'));
  const { parameters } = await readConverted(join(at('unbroken'), 'best', `${best}.safetensors`), original);
  expect([...parameters]).toEqual([...unbroken.parameters]);
});

it.each(judgeNames)('has no branch left that does harm by the judge: %s', async (judge) => {
  const name = `judged by ${judge}`;
  const { model, parameters, progress } = await run(name, { judge, steps: { transfer: 0, logits: 0, long: 0 } });
  const original = await loadCausalModel(at('base'));
  const tokenizer = await loadTokenizer(at('base'));
  const judged = judgeOf(original, tokenizer, await textsFor(tokenizer), {
    judge,
    run: new RunFolder(at(name)),
    compile: { threads: 1 },
  });
  const whole = await judged({ model, parameters });
  expect(progress.stages.filter(({ kept }) => kept).at(-1)).toMatchObject(whole);
  for (const branch of addedBranches) {
    const has = model.mixers.some((mixer) => withoutBranch(mixer, branch) !== undefined);
    const off = progress.stages.some(({ name: stage, kept }) => kept && stage === `without ${branch}`);
    expect(has && off, branch).toBe(false);
    if (!has) continue;
    const rest = await judged({ model: modelWithout(model, branch), parameters });
    expect(isBetter(judge, rest, whole), branch).toBe(false);
  }
  const off = progress.stages.flatMap(({ name: stage }) => (stage.startsWith('without ') ? [stage] : []));
  // Perplexity of an untrained model falls without branches that keep it near its original.
  expect(off).toEqual(judge === 'perplexity' ? ['without memory', 'without sinks'] : []);
});

it('reads no text that the original of another conversion wrote', async () => {
  const stale = new RunFolder(at('stale'));
  mkdirSync(stale.path);
  await stale.write(ownTextFile, [{ tokens: [1, 2, 3, 4], scoredFrom: 2 }]);
  const { progress } = await run('stale');
  expect(progress.stages[0].agreement).toEqual(unbroken.progress.stages[0].agreement);
});

it('of a share leaves nothing but results', async () => {
  await run('share', { store: at('store'), share: { index: 0, count: 2 } });
  expect(await readdir(at('share'))).toEqual([]);
});

it('says which stages have no time for training', async () => {
  const skipped: string[] = [];
  const { progress } = await run('short', {
    steps: undefined,
    budget: 0.001,
    onEvent(event) {
      if (event.kind === 'skipped') skipped.push(`${event.stage}: ${event.reason}`);
    },
  });
  const reason = 'fewer than 4 optimizer steps fit into its';
  expect(skipped.map((line) => line.split(' ', 9).join(' '))).toEqual(
    ['transfer', 'logits', 'long'].map((name) => `${name}: ${reason}`),
  );
  expect(progress.stages.every(({ steps: made }) => made === 0)).toBe(true);
});

it('measures and trains layer by layer where weights stay in their files, with the numbers of weights in memory', async () => {
  const options = {
    budget: 0,
    steps: { transfer: 4, logits: 0, long: 4 },
    judge: 'perplexity' as const,
    keep: { auto: 1 },
    group: 4,
    batch: 2,
    compile: { threads: 1 },
  };
  const whole = await run('whole', options);
  await using original = await openReader(at('base'));
  const tokenizer = await loadTokenizer(original.path);
  const texts = await textsFor(tokenizer);
  const stored = { ...original, fingerprint: await original.fingerprint() };
  const inLayers = await convert(stored, tokenizer, texts, { ...options, folder: at('in layers') });
  expect(inLayers.progress.keptLayers).toEqual(whole.progress.keptLayers);
  for (const [index, { name, perplexity }] of inLayers.progress.stages.entries()) {
    expect(name).toBe(whole.progress.stages[index].name);
    expect(Math.abs(perplexity / whole.progress.stages[index].perplexity - 1), name).toBeLessThan(1e-5);
  }
  const own = residentTensors(inLayers.parameters);
  expect([...own.keys()].every((name) => !original.model.parameters.has(name))).toBe(true);
  for (const [name, { data }] of own) {
    data.forEach((x, i) => expect(Math.abs(x - (whole.parameters.get(name)?.data[i] ?? 9)), name).toBeLessThan(1e-4));
  }
});

it('learns predictions by low-rank updates where weights stay in their files, and goes on to the same ones', async () => {
  const options = {
    budget: 0,
    steps: { transfer: 0, logits: 60, long: 2 },
    keep: { layers: [] },
    group: 4,
    batch: 2,
    compile: { threads: 1 },
  };
  await using original = await openReader(at('base'));
  const tokenizer = await loadTokenizer(original.path);
  const texts = await textsFor(tokenizer);
  const stored = { ...original, fingerprint: await original.fingerprint() };
  const unstopped = await convert(stored, tokenizer, texts, { ...options, folder: at('updates') });
  const [logits] = unstopped.progress.stages.filter(({ name }) => name === 'logits');
  expect(logits).toMatchObject({ kept: true, steps: 60 });
  const stop = new AbortController();
  const stopped = convert(stored, tokenizer, texts, {
    ...options,
    folder: at('stopped updates'),
    signal: stop.signal,
    onEvent(event) {
      if (event.kind === 'step' && event.stage === 'logits' && event.done === 55) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const resumed = await convert(stored, tokenizer, texts, { ...options, folder: at('stopped updates'), resume: true });
  const [one, other] = [await loadTensors(unstopped.parameters), await loadTensors(resumed.parameters)];
  for (const [name, { data }] of one) expect(other.get(name)?.data, name).toEqual(data);
  const { data } = await original.read('model.layers.0.self_attn.q_proj.weight');
  expect(one.get('model.layers.0.self_attn.q_proj.weight')?.data).not.toEqual(data);
});

it('says what the transfer of every layer was worth', () => {
  const transfer = unbroken.progress.stages.find(({ name }) => name === 'transfer');
  expect(transfer?.layers?.map(({ layer }) => layer)).toEqual([0, 1]);
});

it.each(['transfer', 'logits', 'long'])('killed between the weights of %s and the record of them', async (killed) => {
  const file = join(at(killed), 'conversion.json');
  const aside = `${file}.aside`;
  const died = run(killed, {
    onEvent(event) {
      if (event.kind !== 'step' || event.stage !== killed || event.done !== event.total) return;
      // The stage has been trained. Its record cannot replace a folder: the weights are written, the record is not.
      renameSync(file, aside);
      mkdirSync(file);
    },
  });
  await expect(died).rejects.toThrow();
  rmdirSync(file);
  renameSync(aside, file);
  const resumed = await run(killed, { resume: true });
  const plain = ({ progress }: Conversion) => progress.stages.map(({ seconds: _, ...stage }) => stage);
  expect(plain(resumed)).toEqual(plain(unbroken));
  for (const [name, { data }] of unbroken.parameters) expect(resumed.parameters.get(name)?.data, name).toEqual(data);
});

it('stopped while it reads kept predictions of the original a second time, goes on to the same weights', async () => {
  const long = { steps: { transfer: 0, logits: 60, long: 0 } };
  const whole = await run('read twice', long);
  const stop = new AbortController();
  const stopped = run('stopped twice', {
    ...long,
    signal: stop.signal,
    onEvent(event) {
      if (event.kind === 'step' && event.stage === 'logits' && event.done === 55) stop.abort();
    },
  });
  await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  const left = await readdir(join(at('stopped twice'), 'logits'));
  expect(left).toContain('teacher-logits.bin');
  const resumed = await run('stopped twice', { ...long, resume: true });
  for (const [name, { data }] of whole.parameters) expect(resumed.parameters.get(name)?.data, name).toEqual(data);
});
