/** `prompt_logprobs`, a field of vLLM: how probable each token of the prompt was, and which would have been more so. */
import type { TokenScore } from '../../engine/text/scores.ts';
import type { ServiceJob } from '../../engine/text/text-service.ts';
import { ApiError } from './api-error.ts';
import type { SamplingFields } from './request-fields.ts';
import type { TokenNames } from './token-names.ts';

/** One token that the prompt has, or might have had, at a place. */
interface PromptLogprob {
  readonly logprob: number;
  /** 1 for the most probable token. */
  readonly rank: number;
  readonly decoded_token: string;
}

/** For each token of the prompt: by token id, that token and the most probable ones; null for the first. */
export type PromptLogprobs = readonly (Readonly<Record<string, PromptLogprob>> | null)[];

/**
 * What a job does about it.
 * @param echoed how many of the most probable tokens are reported with the prompt as it is echoed; undefined for none
 * @throws ApiError for a stream, which has no place for it
 */
export function promptScoring(
  { prompt_logprobs: count, stream }: Pick<SamplingFields, 'prompt_logprobs' | 'stream'>,
  echoed?: number,
): Pick<ServiceJob, 'scorePrompt' | 'promptTop'> {
  if (count !== undefined && stream === true) {
    throw new ApiError('invalid_request_error', 'a stream has no "prompt_logprobs"; leave out one of them', {
      param: 'prompt_logprobs',
    });
  }
  return {
    scorePrompt: count !== undefined || echoed !== undefined,
    promptTop: Math.max(count ?? 0, echoed ?? 0),
  };
}

/**
 * The field of an answer.
 * @param scores of all tokens but the first, each with at least `count` of the most probable ones
 */
export function promptLogprobs(scores: readonly TokenScore[], count: number, names: TokenNames): PromptLogprobs {
  const places = scores.map(({ token, logprob, rank, top }) => {
    const best = top.slice(0, count).map((other, index) => ({ ...other, rank: index + 1 }));
    return Object.fromEntries(
      [...best, { token, logprob, rank }].map((entry) => [
        String(entry.token),
        { logprob: entry.logprob, rank: entry.rank, decoded_token: names(entry.token) },
      ]),
    );
  });
  return [null, ...places];
}
