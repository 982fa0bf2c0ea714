/**
 * The gain from drafters that learn from texts.
 *
 *   npx tsx bench/decoding/drafters.ts texts [MODEL]              tokens per round: edits of source files, and JSON of one schema
 *   npx tsx bench/decoding/drafters.ts time               processor time of drafting with a vocabulary of 32,000
 *   npx tsx bench/decoding/drafters.ts prose [MODEL] [--tokens 400] [--turns 9] [--threads 1]
 *                                                        speed on sampled prose against no speculation, the two taking turns
 *
 * MODEL defaults to assets/tiny-llama. `texts` forces known texts token by token, so only the drafters make a difference; the
 * logits are the model's own. `texts` drafts in every round, `prose` only when drafts pay.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Sampler } from '../../src/decoding/sampler.ts';
import { drafterMakers, LearnedByOwner, LearnedTexts } from '../../src/decoding/speculation/drafters/registry.ts';
import { SpeculationStatistics, speculative } from '../../src/decoding/speculation/speculative.ts';
import { runTogether } from '../../src/engine/run-together.ts';
import { Runner } from '../../src/engine/runner.ts';
import type { Generation } from '../../src/engine/text-job.ts';
import { openReady } from '../../test/open/ready-model.ts';
import { Random } from '../../src/random.ts';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    tokens: { type: 'string', default: '400' },
    turns: { type: 'string', default: '9' },
    threads: { type: 'string', default: '1' },
  },
});
const [what = 'texts', folder = 'assets/tiny-llama'] = positionals;
const [tokens, turns, threads] = [values.tokens, values.turns, values.threads].map(Number);
await using opened = await openReady(folder, { threads });
const { engine, tokenizer } = opened;
const { vocabulary } = engine.model.sizes;

/** A text to read, and the one to write. */
interface Task {
  readonly prompt: string;
  readonly answer: string;
}

/** Source files with one word renamed, one line removed and one added. */
function edits(): Task[] {
  const drafters = ['drafters/growing-drafter', 'drafters/ngram-index'];
  const files = ['acceptance', 'adaptive-speculation', 'speculative', 'drafters/medusa-drafter', ...drafters];
  return files.map((name, at) => {
    const lines = readFileSync(`src/decoding/speculation/${name}.ts`, 'utf8').split('\n').slice(0, 60);
    const counts = new Map<string, number>();
    for (const [word] of lines.join('\n').matchAll(/[A-Za-z]{5,}/g)) counts.set(word, (counts.get(word) ?? 0) + 1);
    const [renamed] = [...counts].sort((a, b) => b[1] - a[1])[2];
    const changed = lines.toSpliced(20 + at, 1).toSpliced(40 - at, 0, '// Added by an editor.');
    return {
      prompt: `Rename ${renamed}:\n${lines.join('\n')}\n`,
      answer: changed.join('\n').replaceAll(renamed, `new${renamed}`),
    };
  });
}

/** Bulletins and their content as JSON: one request each, all with the same schema. */
function extractions(): Task[] {
  const random = new Random(5);
  const one = (of: readonly string[]): string => of[random.integer(of.length)];
  const [places, skies] = [
    ['Lisbon', 'Oslo', 'Cork', 'Turin', 'Graz', 'Porto'],
    ['rain', 'sun', 'fog', 'snow', 'clouds'],
  ];
  return Array.from({ length: 40 }, () => {
    const [place, sky, wind] = [one(places), one(skies), one(['north', 'south', 'east', 'west'])];
    const [degrees, speed] = [random.integer(35), 5 + random.integer(60)];
    const answer = {
      place,
      forecast: { sky, temperature: { value: degrees, unit: 'celsius' } },
      wind: { from: wind, speed },
    };
    return {
      prompt: `In ${place} there will be ${sky} and ${degrees} degrees; ${wind} winds of ${speed} km/h.\n`,
      answer: JSON.stringify(answer, undefined, 1),
    };
  });
}

/** Writes the answers one after the other. */
async function write(tasks: readonly Task[], name: keyof typeof drafterMakers): Promise<SpeculationStatistics> {
  const statistics = new SpeculationStatistics();
  const learned = new LearnedTexts();
  for (const { prompt, answer } of tasks) {
    const promptTokens = [...tokenizer.encode(prompt)];
    const text = [...promptTokens, ...tokenizer.encode(answer)];
    const mask = new Uint8Array(vocabulary);
    const constraint = (so: ArrayLike<number>): Uint8Array => {
      mask.fill(0)[text[so.length] ?? 0] = 1;
      return mask;
    };
    const job = {
      prompt: { tokens: promptTokens },
      maxTokens: text.length - promptTokens.length,
      ignoreEos: true,
      sampling: new Sampler({}, undefined, { constraint }),
      method: speculative(drafterMakers[name](learned), { statistics }),
    };
    const [result] = await runTogether(engine, [job]);
    if (result.tokens.some((token, at) => token !== text[promptTokens.length + at]))
      throw new Error('the text differs');
  }
  return statistics;
}

async function texts(): Promise<void> {
  for (const [title, tasks] of Object.entries({ edits: edits(), 'JSON of one schema': extractions() })) {
    let lookup = 0;
    for (const name of ['lookup', 'suffix', 'recycle', 'auto'] as const) {
      const { steps, tokensPerStep, nodesPerStep, seconds } = (await write(tasks, name)).summary;
      if (name === 'lookup') lookup = tokensPerStep;
      console.log(
        `${title}, ${name}: ${tokensPerStep.toFixed(2)} tokens a round (${(tokensPerStep / lookup).toFixed(2)} of lookup), ` +
          `${nodesPerStep.toFixed(1)} nodes, drafting ${((1e6 * seconds.draft) / steps).toFixed(0)} µs a round`,
      );
    }
  }
  const { earlier } = new LearnedTexts();
  let most = 0;
  for (let count = 1; count <= 2 ** 18; count++) {
    earlier.texts.push(count % 1000);
    if (count > 1000) most = Math.max(most, earlier.texts.bytes / Math.min(count, 2 ** 17));
  }
  console.log(
    `memory: at most ${most.toFixed(0)} bytes a token, ${earlier.texts.bytes} in all after ${2 ** 18} tokens`,
  );
}

/** Drafts an already served text without a model: the logits' values do not change the time. */
async function time(): Promise<void> {
  const random = new Random(3);
  const text = Array.from({ length: 300 }, () => Math.floor(32_000 * random.uniform() ** 6));
  while (text.length < 3000) {
    const from = random.integer(text.length - 30);
    for (let i = 0; i < 30; i++) text.push(i < 20 ? random.integer(32_000) : text[from + i]);
  }
  const all = Array.from({ length: 32 }, () => Float32Array.from({ length: 32_000 }, () => random.uniform()));
  const state = engine.newState();
  for (const name of ['lookup', 'suffix', 'recycle', 'auto'] as const) {
    const learned = new LearnedTexts();
    for (let i = 0; i < 30; i++) learned.earlier.add(text.slice(i * 50, i * 50 + 1000));
    const drafter = drafterMakers[name](learned);
    const rounds = 600;
    const before = process.cpuUsage();
    let nodes = 0;
    for (let round = 0; round < rounds; round++) {
      const so = text.slice(0, 1000 + round);
      const draft = await drafter.propose({
        tokens: so,
        root: so[so.length - 1],
        hidden: all[0],
        state,
        maxDepth: 100,
      });
      await drafter.accepted?.([text[so.length]], { tokens: draft.tokens, logits: all, hidden: all, path: [0] });
      nodes += draft.tokens.length;
    }
    const { user, system } = process.cpuUsage(before);
    console.log(`${name}: ${((user + system) / rounds).toFixed(0)} µs a round, ${(nodes / rounds).toFixed(1)} nodes`);
  }
}

async function prose(): Promise<void> {
  const prompt = [...tokenizer.encode('Once upon a time')];
  const runners = { off: newRunner(), lookup: newRunner(), auto: newRunner() };
  const speeds: Record<keyof typeof runners, { wall: number; processor: number }[]> = { off: [], lookup: [], auto: [] };
  for (let turn = 0; turn <= turns; turn++) {
    for (const name of ['off', 'lookup', 'auto'] as const) {
      const sampling = { temperature: 0.9, seed: turn };
      const job = { prompt: { tokens: prompt }, maxTokens: tokens, ignoreEos: true, drafter: name, sampling };
      let end: Generation | undefined;
      const before = process.cpuUsage();
      for await (const event of runners[name].submit(job)) if (event.type === 'end') end = event.generation;
      const { user, system } = process.cpuUsage(before);
      // The first texts include compilation.
      if (end === undefined || turn === 0) continue;
      speeds[name].push({ wall: end.tokensPerSecond, processor: (1e6 * tokens) / (user + system) });
    }
  }
  for (const [name, own] of Object.entries(speeds)) {
    const ratio = (of: 'wall' | 'processor'): string =>
      median(own.map((speed, at) => speed[of] / speeds.off[at][of])).toFixed(3);
    console.log(
      `${name}: ${median(own.map(({ wall }) => wall)).toFixed(1)} tokens/s; relative to no speculation ${ratio('wall')} by the clock, ` +
        `${ratio('processor')} by processor time`,
    );
  }
}

const newRunner = (): Runner => new Runner(engine, { learned: new LearnedByOwner(), parallel: 1 });
const median = (of: readonly number[]): number => [...of].sort((a, b) => a - b)[of.length >> 1];

const parts: Readonly<Record<string, () => Promise<void>>> = { texts, time, prose };
if (!Object.hasOwn(parts, what)) throw new Error(`unknown part "${what}"; expected ${Object.keys(parts).join(', ')}`);
await parts[what]();
