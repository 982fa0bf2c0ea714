/** Jobs of requests in the fields of HTTP, on a runner: goes when the endpoints speak `TextJob`. */
import type { Sampler, SamplerInput } from '../../decoding/sampler.ts';
import type { RandomState } from '../../random.ts';
import type { SequenceState } from '../../decoding/state/sequence-state.ts';
import type { VerifiedTree } from '../../decoding/speculation/speculative.ts';
import type { TextModel } from '../text-model.ts';
import type { DrafterName } from './decoding-choice.ts';
import { JsonSchemas } from '../../decoding/constraints/json-schemas.ts';
import type { JsonConstraint } from '../../decoding/constraints/json-constraint.ts';
import type { PlacedScore } from './score-stream.ts';
import type { ScoredDistribution, TokenScore } from './scores.ts';
import type { Runner } from '../runner.ts';
import { cancelled } from '../running-job.ts';
import type { Generation, TextEvent, TextJob } from '../text-job.ts';

/** What is to be written. */
export interface ServiceJob {
  /** Whose job it is. */
  readonly key: string;
  /** Among the waiting requests of the key, those of lower numbers begin first. Default 0. */
  readonly priority?: number;
  /** Separates cached beginnings. */
  readonly salt: string;
  /** Not empty, every token of the vocabulary. */
  readonly prompt: readonly number[];
  /** 0 only scores the prompt. */
  readonly maxTokens: number;
  readonly n: number;
  readonly sampling: SamplerInput & { readonly seed: number };
  readonly stop: readonly string[];
  readonly stopIds: readonly number[];
  /** Whether the stop string that ends a text is part of it. Default false. */
  readonly keepStop?: boolean;
  readonly ignoreEos: boolean;
  /** Tokens before which nothing ends the text. Default 0; not together with `json`. */
  readonly leastTokens?: number;
  /** JSON that the text is to be. */
  readonly json?: JsonConstraint;
  /** How many of the most probable tokens to report with each token; undefined reports no scores. */
  readonly logprobs?: number;
  /** Of which distribution the scores of the answer are. Default: the model's. */
  readonly scored?: ScoredDistribution;
  /** Whether tokens of the prompt are scored too. */
  readonly scorePrompt: boolean;
  /** How many of the most probable tokens to report with each of those. Default 0. */
  readonly promptTop?: number;
  /** Whether to tell how far the prompt is. */
  readonly progress?: boolean;
  /** Lengths of the prompt after which its state is worth keeping. */
  readonly boundaries?: readonly number[];
  /** Has read a beginning of the prompt; else the prefix cache is asked. */
  readonly state?: SequenceState;
  /** How the text is decoded. Default: as the server does. */
  readonly drafter?: DrafterName;
  /** Whether text events tell the trees that were verified. */
  readonly trees?: boolean;
  /** Random numbers to go on with, instead of those of the seed; for one choice. */
  readonly random?: RandomState;
  readonly signal: AbortSignal;
}

/** What a job gives. */
export type ServiceEvent =
  /** So many of so many tokens of the prompt have been read, in so much time; only where the job asks for it. */
  | {
      readonly type: 'progress';
      readonly done: number;
      readonly total: number;
      readonly seconds: number;
      readonly cached: number;
    }
  | {
      readonly type: 'prompt';
      /** Time spent reading the prompt. */
      readonly seconds: number;
      readonly scores: readonly TokenScore[];
      readonly cached: number;
      readonly state: SequenceState;
    }
  | {
      readonly type: 'text';
      readonly choice: number;
      readonly text: string;
      readonly tokens: readonly number[];
      readonly scores: readonly PlacedScore[];
      /** Trees verified since the last event of the choice; none unless the job asks for them. */
      readonly trees: readonly VerifiedTree[];
    }
  | {
      readonly type: 'end';
      readonly choice: number;
      readonly scores: readonly PlacedScore[];
      readonly finish: 'stop' | 'length';
      readonly generation: Generation;
      readonly sampler: Sampler;
    };

export class TextService {
  readonly model: TextModel;
  readonly runner: Runner;
  readonly schemas: JsonSchemas;

  constructor(model: TextModel, runner: Runner) {
    this.model = model;
    this.runner = runner;
    this.schemas = new JsonSchemas(model.tokenizer, model.engine.model.sizes.vocabulary);
  }

  /** Starts a job. @throws as `Runner.submit` */
  start(job: ServiceJob): AsyncGenerator<ServiceEvent, void, undefined> {
    return this.startAll([job])[0];
  }

  /** Starts the jobs of one request. @throws as `Runner.submit` */
  startAll(jobs: readonly ServiceJob[]): AsyncGenerator<ServiceEvent, void, undefined>[] {
    return this.runner.submitAll(jobs.map(textJob)).map((events, index) => followed(jobs[index], events));
  }
}

function textJob(job: ServiceJob): TextJob {
  const { key, prompt, boundaries, stop, stopIds, keepStop, json, logprobs, scored, scorePrompt, promptTop } = job;
  const { maxTokens, n, ignoreEos, leastTokens, sampling, random, drafter, trees, state, priority, salt, signal } = job;
  return {
    ...{ maxTokens, n, ignoreEos, leastTokens, sampling, random, drafter, trees, state, priority, salt, signal },
    owner: key,
    prompt: { tokens: prompt, keepAt: boundaries },
    stop: { strings: stop, tokenIds: stopIds, kept: keepStop },
    constraint: json,
    scores: { text: logprobs, of: scored, prompt: scorePrompt ? (promptTop ?? 0) : undefined },
  };
}

async function* followed(
  job: ServiceJob,
  events: AsyncIterable<TextEvent>,
): AsyncGenerator<ServiceEvent, void, undefined> {
  const waiting = new Map<number, number[]>();
  for await (const event of events) {
    if (event.type === 'prompt') {
      const { done, total, seconds, cached, scores, state } = event;
      if (job.progress === true) yield { type: 'progress', done, total, seconds, cached };
      if (done === total) yield { type: 'prompt', scores, cached, state, seconds };
    } else if (event.type === 'tokens') {
      const { choice, text, scores, trees } = event;
      // Tokens whose text is not certain yet come with it.
      const tokens = [...(waiting.get(choice) ?? []), ...event.tokens];
      const comes = text !== '' || scores.length > 0 || trees.length > 0;
      waiting.set(choice, comes ? [] : tokens);
      if (comes) yield { type: 'text', choice, text, tokens, scores, trees };
    } else {
      const { choice, scores, generation, sampler } = event;
      if (generation.finish === 'abort') throw cancelled();
      const finish = generation.finish === 'length' ? 'length' : 'stop';
      yield { type: 'end', choice, scores, finish, generation, sampler };
    }
  }
}
