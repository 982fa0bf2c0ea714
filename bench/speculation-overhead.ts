/**
 * The cost of speculation outside the runtime: in rounds that verify the default tree of 64 nodes, the time
 * outside compiled graphs (drafting from a known text, masks and feeds, acceptance, commits), at several contexts.
 *
 *     node --import tsx bench/speculation-overhead.ts [WIDTH] [LAYERS] [VOCABULARY] [CONTEXTS]
 */
import { mixerPreset } from '../src/attention/presets.ts';
import { DecodingEngine } from '../src/decoding/engine.ts';
import { nextTokens } from '../src/decoding/method.ts';
import { Sampler } from '../src/decoding/sampler.ts';
import { ReferenceDrafter } from '../src/decoding/speculation/drafters/reference-drafter.ts';
import { speculative } from '../src/decoding/speculation/speculative.ts';
import { fillState } from '../src/evaluation/speed/decoding-speed.ts';
import { describeCausalModel } from '../src/models/families/index.ts';
import { initializeParameters } from '../src/models/initialize.ts';
import { withMixer } from '../src/models/linearization/linearize.ts';
import { Random } from '../src/random.ts';
import { randomLlamaConfig } from './random-llama.ts';

const [width = 1024, layers = 8, vocabulary = 8192] = process.argv.slice(2, 5).map(Number);
const contexts = (process.argv[5] ?? '64,1024,8192').split(',').map(Number);
const rounds = 24;

const config = randomLlamaConfig({ width, layers, vocabulary, length: 65536, expansion: 2 });
const model = withMixer(describeCausalModel({ ...config, tie_word_embeddings: false }), mixerPreset('augmented'));
await using engine = await DecodingEngine.create(model, initializeParameters(model, new Random(1)));

/** Milliseconds in the engine's compiled step graph. Folds of closed groups count as ours. */
let inRuntime = 0;
const { program } = engine;
const run = program.run.bind(program);
program.run = async (feeds, fetch) => {
  const started = performance.now();
  try {
    return await run(feeds, fetch);
  } finally {
    inRuntime += performance.now() - started;
  }
};

for (const context of contexts) {
  const random = new Random(context);
  const state = engine.newState();
  fillState(state, context - 1, random);
  const text = Array.from({ length: context }, () => random.integer(vocabulary));
  const read = await engine.advance(state, text[context - 1]);
  const drafter = new ReferenceDrafter(text, vocabulary); // all guesses are random: acceptance is at its shortest
  const decoder = speculative(drafter)({ engine, state, sampler: new Sampler(), ...read });
  const bounds = { count: 100, ends: new Set<number>() };
  text.push(...(await nextTokens(engine, decoder, text, bounds)));
  const samples: { total: number; outside: number }[] = [];
  for (let round = 0; round < rounds; round++) {
    inRuntime = 0;
    const started = performance.now();
    text.push(...(await nextTokens(engine, decoder, text, bounds)));
    const total = performance.now() - started;
    if (round >= 4) samples.push({ total, outside: total - inRuntime });
  }
  const middle = (of: (sample: (typeof samples)[number]) => number): number =>
    samples.map(of).sort((a, b) => a - b)[samples.length >> 1];
  const share = middle(({ total, outside }) => outside / total);
  console.log(
    `context ${context}: round ${middle(({ total }) => total).toFixed(1)} ms, outside the runtime ` +
      `${middle(({ outside }) => outside).toFixed(2)} ms, ${(100 * share).toFixed(1)}%`,
  );
}
