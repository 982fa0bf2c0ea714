/**
 * Counts tokens whose bits differ from the same text alone: 0 if the engine claims `sameBits`.
 *
 *   npx tsx bench/decoding/same-bits.ts models [--texts 20] [--length 160] [--seed 1] [--types int4-32,int4-128,w8a8,f16]
 *                                 random models, by family, mixer and type: chains, trees, batches and chunks, logits and states
 *   npx tsx bench/decoding/same-bits.ts drafts [--types …] [--tokens 200]   greedy texts with each drafter against one token a step
 *   npx tsx bench/decoding/same-bits.ts batch [--texts 2000] [--length 24] [--types int4-32]   logits of 16 texts in a step
 *   npx tsx bench/decoding/same-bits.ts warm [--texts 20] [--length 160] [--types …] [--subjects …]
 *                                 answers and states after a cached prefix, a session, a session in another engine, and a conversation
 *                                 turn, each against a new engine that reads the whole text, in chunks of 64, 128, 512
 *   npx tsx bench/decoding/same-bits.ts restart [--texts 20] [--model FOLDER]   session answers after a server restart, over
 *                                 HTTP, against a server that reads the whole text: tokens and log-probabilities
 *
 * The models are small; widely spread parameters keep their predictions apart. Drafts and batches use `assets/tiny-llama`.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { canDecode } from '../../src/attention/mixers.ts';
import { mixerPreset, mixerPresetNames, type PresetOptions } from '../../src/attention/presets.ts';
import { chain } from '../../src/attention/tree.ts';
import type { StepEngine } from '../../src/decoding/step-engine.ts';
import { bitsByReading } from '../../src/evaluation/check/same-bits.ts';
import { describeModel, supportedFamilies } from '../../src/models/families/index.ts';
import { initializeParameters } from '../../src/models/initialize.ts';
import { linearize } from '../../src/models/linearization/linearize.ts';
import type { CausalModel } from '../../src/models/model.ts';
import { Random } from '../../src/random.ts';
import { draftedTexts, engineOf, storedTypes, tinyLlamaOfPackage } from '../../test/export/drafted-texts.ts';
import type { ModelWithWeights } from '../../test/export/exported-model.ts';
import { isWarmLikeCold, longestAnswers, warmWays } from '../../test/export/warm-answers.ts';
import { tinyConfig } from '../../test/models/tiny-model.ts';
import { restartedAnswers } from '../../test/serving/restarted-answers.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    texts: { type: 'string', default: '20' },
    length: { type: 'string', default: '160' },
    seed: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '200' },
    types: { type: 'string', default: 'int4-32,int4-128,w8a8,f16' },
    subjects: { type: 'string', default: '' },
    model: { type: 'string', default: 'assets/tiny-llama' },
  },
});
const [texts, length, seed, tokens] = [values.texts, values.length, values.seed, values.tokens].map(Number);
const types = storedTypes.filter((type) => values.types.split(',').includes(type));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Wide enough for blocks of codes and for texts that cross position blocks. */
const widths: Readonly<Record<string, unknown>> = {
  hidden_size: 64,
  intermediate_size: 160,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 1024,
};
const ownWidths: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  gpt2: { n_embd: 64, n_head: 4, n_positions: 1024 },
  gemma3_text: { ...widths, head_dim: 256 },
  qwen3_5_text: { ...widths, head_dim: 256, linear_key_head_dim: 128, linear_value_head_dim: 128 },
  falcon_h1: { ...widths, mamba_d_state: 256 },
  flash: { dim: 64, group_size: 20, query_key_dim: 32, trained_length: 1024 },
};

function spread(model: CausalModel): ModelWithWeights {
  return { model, parameters: initializeParameters(model, new Random(seed), 0.3) };
}

/** Options of the mixers that replace attention; other presets keep their defaults. */
const mixerOptions: Readonly<Record<string, PresetOptions>> = {
  augmented: { group: 32 },
  'local+global': { group: 8 },
  linformer: { block: 16, rows: 3 },
  window: { group: 16 },
  'window+sinks': { group: 8, sinks: 4 },
  'sliding-window': { window: 100 },
  'gated-delta': { convolution: true },
};

/** Models by name; undefined for a family that is not causal. */
function subjects(): Map<string, () => Promise<ModelWithWeights | undefined>> {
  const made = new Map<string, () => Promise<ModelWithWeights | undefined>>();
  for (const family of supportedFamilies) {
    made.set(family, async () => {
      const config = tinyConfig(family);
      const own = ownWidths[family] ?? ('hidden_size' in config ? widths : {});
      const model = describeModel({ ...config, ...own });
      return model.kind === 'causal' ? spread(model) : undefined;
    });
  }
  for (const name of mixerPresetNames()) {
    const mixer = mixerPreset(name, mixerOptions[name]);
    if (!canDecode(mixer)) continue;
    made.set(`llama of ${name}`, async () => {
      const { model, parameters } = await tinyLlamaOfPackage();
      return linearize(model, parameters, mixer);
    });
  }
  return made;
}

/** The requested models. */
async function* chosenSubjects(): AsyncGenerator<readonly [name: string, subject: ModelWithWeights]> {
  const chosen = values.subjects === '' ? undefined : values.subjects.split(',');
  for (const [name, make] of subjects()) {
    if (chosen !== undefined && !chosen.includes(name)) continue;
    const subject = await make();
    if (subject !== undefined) yield [name, subject];
  }
}

async function countModels(): Promise<void> {
  const total = { texts: 0, tokens: 0, differ: 0 };
  for await (const [name, subject] of chosenSubjects()) {
    for (const type of types) {
      await using engine = await engineOf(subject, type);
      if (!(await engine.sameBits())) {
        say(`${name}, ${type}: equal up to rounding, as the engine says`);
        break;
      }
      const counts = { texts: 0, tokens: 0, differ: 0 };
      for (let text = 0; text < texts; text++) {
        const bits = await bitsByReading(engine, { length, seed: seed * 10_000 + text });
        counts.texts++;
        counts.tokens += Math.min(length, engine.model.positions.limit);
        if (!Object.values(bits).every(Boolean)) counts.differ++;
      }
      total.texts += counts.texts;
      total.tokens += counts.tokens;
      total.differ += counts.differ;
      say(`${name}, ${type}: ${counts.differ} of ${counts.texts} texts of ${counts.tokens} tokens differ`);
    }
  }
  say(`${total.differ} of ${total.texts} texts of ${total.tokens} tokens differ`);
}

async function countDrafts(): Promise<void> {
  const subject = await tinyLlamaOfPackage();
  for (const type of types) {
    await using engine = await engineOf(subject, type);
    const { differ, texts: all, tokens: read } = await draftedTexts(engine, { maxTokens: tokens });
    say(`${type}: ${differ} of ${all} drafted texts of ${read} tokens differ`);
  }
}

const together = 16;

/** Random tokens and lengths, 16 texts in a step, each against itself alone: logits of every token. */
async function countBatches(): Promise<void> {
  const subject = await tinyLlamaOfPackage();
  for (const type of types) {
    await using engine = await engineOf(subject, type);
    const random = new Random(seed);
    let differ = 0;
    let read = 0;
    for (let first = 0; first < texts; first += together) {
      const all = Array.from({ length: Math.min(together, texts - first) }, () =>
        randomText(engine, random, 1 + random.integer(length * 2)),
      );
      const alone = await Promise.all(all.map((text) => logitsAlone(engine, text)));
      const beside = await logitsTogether(engine, all);
      read += all.reduce((sum, text) => sum + text.length, 0);
      differ += all.filter((_, b) => alone[b].some((row, at) => row.some((x, i) => x !== beside[b][at][i]))).length;
    }
    say(`${type}: ${differ} of ${texts} texts of ${read} tokens differ, ${together} in a step`);
  }
}

async function countWarm(): Promise<void> {
  const total = { answers: 0, differ: 0 };
  for await (const [name, subject] of chosenSubjects()) {
    for (const type of types) {
      await using engine = await engineOf(subject, type);
      await using other = await engineOf(subject, type);
      if (!(await engine.sameBits())) {
        say(`${name}, ${type}: equal up to rounding, as the engine says`);
        break;
      }
      const random = new Random(seed);
      const differ = Object.fromEntries(warmWays.map((way) => [way, 0]));
      const most = Math.min(length, Math.floor((engine.model.positions.limit - longestAnswers) / 2));
      let answers = 0;
      for (let text = 0; text < texts; text++) {
        const [beginning, rest] = [most, most].map((each) => randomText(engine, random, 1 + random.integer(each)));
        for (const chunk of [64, 128, 512]) {
          for (const way of warmWays) {
            // Step weights read generated tokens; in mixed types, prompt weights would read a prompt that repeats them.
            if (way === 'turn' && type.startsWith('mixed')) continue;
            answers++;
            if (!(await isWarmLikeCold(way, { engine, other, chunk, beginning, rest }))) differ[way]++;
          }
        }
      }
      total.answers += answers;
      total.differ += Object.values(differ).reduce((sum, each) => sum + each, 0);
      const ways = Object.entries(differ).map(([way, times]) => `${way} ${times}`);
      say(`${name}, ${type}: of ${answers} answers differ ${ways.join(', ')}`);
    }
  }
  say(`${total.differ} of ${total.answers} answers or states differ`);
}

async function countRestarts(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'linnet-restart-'));
  const words = (await readFile(new URL('../../README.md', import.meta.url), 'utf8')).split(/\s+/);
  const random = new Random(seed);
  const draw = (): string => {
    const start = random.integer(words.length - length);
    return ` ${words.slice(start, start + 1 + random.integer(length / 4)).join(' ')}`;
  };
  const drawn = Array.from({ length: texts }, () => [draw(), draw()] as const);
  try {
    const { answers, differ, sameBits } = await restartedAnswers(values.model, drawn, folder);
    say(`${differ} of ${answers} answers differ; same_bits of /props: ${sameBits}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function randomText(engine: StepEngine, random: Random, count: number): number[] {
  return Array.from({ length: count }, () => random.integer(engine.model.sizes.vocabulary));
}

async function logitsAlone(engine: StepEngine, text: readonly number[]): Promise<Float32Array[]> {
  const state = engine.newState();
  const rows: Float32Array[] = [];
  for (const token of text) rows.push((await engine.advance(state, token)).logits.slice());
  return rows;
}

async function logitsTogether(engine: StepEngine, all: readonly (readonly number[])[]): Promise<Float32Array[][]> {
  const states = all.map(() => engine.newState());
  const rows = all.map((): Float32Array[] => []);
  for (let at = 0; at < Math.max(...all.map((text) => text.length)); at++) {
    const left = [...all.keys()].filter((b) => at < all[b].length);
    const requests = left.map((b) => ({ state: states[b], tree: chain(1), tokens: [all[b][at]], wanted: [0] }));
    const outputs = await engine.step(requests);
    for (const [i, b] of left.entries()) {
      rows[b].push(outputs[i].logits[0].slice());
      await engine.commit(requests[i], outputs[i], [0]);
    }
  }
  return rows;
}

const counts: Readonly<Record<string, (() => Promise<void>) | undefined>> = {
  models: countModels,
  drafts: countDrafts,
  batch: countBatches,
  warm: countWarm,
  restart: countRestarts,
};
const count = counts[positionals[0] ?? 'models'];
if (count === undefined) throw new Error(`count one of ${Object.keys(counts).join(', ')}`);
await count();
