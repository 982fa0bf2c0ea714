/** The sampler of a text: the settings of its job, what holds it to a grammar, and what keeps it from ending too soon. */
import { Sampler, type TokenConstraint } from '../decoding/sampler.ts';
import type { AutoregressiveModel } from '../models/model.ts';
import type { TextJob } from './text-job.ts';

/** @throws LinnetError `CONFIG` for settings out of range */
export function jobSampler(job: TextJob, { eosIds, sizes }: AutoregressiveModel, choice = 0): Sampler {
  const { sampling = {}, random, constraint, leastTokens = 0, prompt, stop, ignoreEos, penalizes } = job;
  if (sampling instanceof Sampler) return sampling;
  const from = prompt.tokens.length;
  const ends = [...(stop?.tokenIds ?? []), ...(ignoreEos === true ? [] : eosIds)];
  const going = new Uint8Array(leastTokens > 0 ? sizes.vocabulary : 0).fill(1);
  for (const id of ends) going[id] = 0;
  const least: TokenConstraint = (text) => (text.length - from < leastTokens ? going : undefined);
  const seed = choice === 0 ? sampling.seed : ((sampling.seed ?? 0) + choice) >>> 0;
  return new Sampler({ ...sampling, seed }, random, {
    constraint: constraint?.after(from) ?? (leastTokens > 0 && ends.length > 0 ? least : undefined),
    // The repetition penalty counts the prompt in any case.
    penalizedFrom: penalizes === 'answer' && (sampling.repetitionPenalty ?? 1) === 1 ? from : 0,
  });
}
