/**
 * How much text a conversion's report measures on: all of it for a small model; for a large one, as much as time allows, test
 * text first.
 */
import { branches } from '../attention/mixer.ts';
import { withoutBranch } from '../attention/mixers.ts';
import { contextsWithin, positionsBeyondContext } from '../evaluation/speed/decoding-speed.ts';
import { modelStateBytes } from '../models/graphs/model-layout.ts';
import type { CausalModel } from '../models/model.ts';
import { InputParameters, parameterCount } from '../nn/parameters.ts';
import { operationSeconds } from '../training/step-cost.ts';
import { ownTextLengths } from './judge.ts';
import { windowLength } from './stages.ts';
import type { ConversionTexts } from './texts.ts';
import { graphCost, type GraphCost } from '../graph/cost.ts';
import { Graph } from '../graph/graph.ts';
import { concat, reshape } from '../graph/ops/layout.ts';
import { max } from '../graph/ops/reduce.ts';
import { parallelHidden } from '../models/graphs/parallel-graph.ts';
import { overPositions } from '../training/objectives/next-token.ts';

/** Amounts of text for the report's measurements. */
export type MeasureExtent = ReturnType<typeof measureExtent>;

/** Share of the training time that the report's measurements may take, and seconds they may always take. */
const budgetShare = 0.2;
const leastSeconds = 60;

/** Seconds for the report's measurements after a training of `budget` seconds. */
export function measureSeconds(budget: number): number {
  return Math.max(leastSeconds, budgetShare * budget);
}

/** Share of the training time for judging a stage, on a machine with this many operations per second. */
const judgedShare = 0.05;
const assumedRate = 1e11;

/**
 * Validation tokens for a training of `budget` seconds: the same on every machine, so that a resumed run has the same text.
 */
export function judgedTokens({ parameters }: Pick<CausalModel, 'parameters'>, budget: number): number {
  return Math.floor((judgedShare * budget * assumedRate) / (2 * parameterCount(parameters)));
}

/** Window length for perplexity by position, as a multiple of other windows'. */
const positionFactor = 4;
const recallDistances = [16, 32, 64, 128, 256, 512, 1024];
/** A probe's tokens besides its distance: a passage, twice. */
const probeTokens = 32;
const most = { probes: 16, prompts: 200, steps: 64 };
const fewest = { probes: 2, prompts: 8, steps: 8 };
/** Tokens per sample text that each model continues for reading. */
const sampleTokens = 80;
const mostStateBytes = 2 ** 30;
/** Bytes of weights that a step reads per second, and that compiling a step takes in per second. */
const stepBytes = 1e10;
const startBytes = 2e8;

/** Seconds to compile a model's step. */
export function startSeconds(model: CausalModel): number {
  return (4 * parameterCount(model.parameters)) / startBytes;
}

interface ExtentInputs {
  readonly original: CausalModel;
  readonly converted: CausalModel;
  readonly texts: Pick<ConversionTexts, 'test' | 'testTokens'>;
  readonly contexts: readonly number[];
  /** Seconds for all measurements; undefined for no limit. */
  readonly seconds?: number;
  /** Operations per second, from `measureOperations`. */
  readonly rate: number;
}

/** The converted model's branches. */
export function modelBranches({ mixers }: Pick<CausalModel, 'mixers'>) {
  return branches.filter((branch) => mixers.some((mixer) => withoutBranch(mixer, branch) !== undefined));
}

/** Chooses amounts of text that fit the time. */
export function measureExtent({ original, converted, texts, contexts, seconds, rate }: ExtentInputs) {
  const window = windowLength(original);
  const tokenSeconds = operationSeconds(readingCost(original, window).operations / window, rate);
  const weightBytes = 4 * parameterCount(original.parameters);
  const stepTokens = Math.max(1, weightBytes / stepBytes / tokenSeconds);
  const started = 2 * startSeconds(original);
  const allowed = seconds === undefined ? Number.POSITIVE_INFINITY : Math.max(0, seconds - started) / tokenSeconds;

  const test = texts.test.windows.map(({ tokens }) => tokens.length);
  const readings = 2 + modelBranches(converted).length;
  const tokensOfTest = (count: number): number => readings * test.slice(0, count).reduce((sum, n) => sum + n, 0);
  let testWindows = test.length;
  while (testWindows > 1 && tokensOfTest(testWindows) > allowed / 2) testWindows--;

  const { limit } = original.positions;
  const longest = Math.min(limit, texts.testTokens.length - probeTokens - 1);
  const distances = recallDistances.filter((distance) => distance + probeTokens <= longest);
  const measuredContexts = contextsWithin(contexts, original, positionsBeyondContext(most)).filter(
    (context) => modelStateBytes(original, context) <= mostStateBytes,
  );
  const { whole } = ownTextLengths(original);
  const between = (least: number, all: number, share: number): number => Math.floor(least + share * (all - least));
  const amounts = (share: number) => {
    const part = (name: keyof typeof most): number => between(fewest[name], most[name], share);
    const position = between(window, Math.max(window, texts.testTokens.length), share);
    const positionLength = Math.min(positionFactor * window, position, limit);
    return {
      /** Per recall distance. */
      probes: part('probes'),
      /** Prompts that the original continues, for comparison. */
      prompts: part('prompts'),
      /** Timed steps per context. */
      steps: part('steps'),
      /** Windows, and their length, for perplexity by position. */
      positionLength,
      positionWindows: Math.max(1, Math.floor(position / positionLength)),
    };
  };
  const tokensOf = ({ probes, prompts, steps, positionLength, positionWindows }: ReturnType<typeof amounts>): number =>
    2 * Math.min(texts.testTokens.length, positionLength * positionWindows) +
    2 * probes * distances.reduce((sum, distance) => sum + distance + probeTokens, 0) +
    3 * prompts * whole +
    2 * stepTokens * (1.25 * steps * measuredContexts.length + sampleTokens);
  const [least, rest] = [tokensOf(amounts(0)), tokensOf(amounts(1))];
  const left = allowed - tokensOfTest(testWindows) - least;
  const share = rest > least ? Math.min(1, Math.max(0, left / (rest - least))) : 1;
  const chosen = amounts(share);
  const tokens = Math.round(tokensOfTest(testWindows) + tokensOf(chosen));
  return {
    /** Test windows for perplexity, and their tokens. */
    testWindows,
    testTokens: tokensOfTest(testWindows) / readings,
    ...chosen,
    distances,
    /** Contexts for measuring speed: those with a moderate state size. */
    contexts: measuredContexts,
    /** Tokens read and written, and the time for them. */
    tokens,
    seconds: started + tokens * tokenSeconds,
    /** Whether more time would measure more. */
    isCut: share < 1 || testWindows < test.length,
  };
}

/** The cost of reading `length` tokens, predictions included. */
export function readingCost(model: CausalModel, length: number): GraphCost {
  const graph = new Graph('reading');
  const source = new InputParameters(graph);
  const hidden = parallelHidden(model, source, graph.input('tokens', 'int32', [1, length]));
  const best = overPositions([reshape(hidden, [length, model.sizes.width])], model.sizes.vocabulary, ([features]) =>
    max(model.head(source, features), [1]),
  );
  graph.output('best', concat(best, 0));
  return graphCost(graph);
}
