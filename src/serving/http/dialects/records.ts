/** The texts of a request as its answer tells them: each job with its choices, which grow with the events of its run. */
import type { SequenceState } from '../../../decoding/state/sequence-state.ts';
import type { Snapshot } from '../../../decoding/state/session-format.ts';
import { cancelled } from '../../../engine/running-job.ts';
import type { PreparedJob, Session } from '../../../engine/session.ts';
import type { PlacedScore, TokenScore } from '../../../engine/text/scores.ts';
import { BrokenLogitsError } from '../../../errors.ts';
import { ApiError } from '../api-error.ts';
import type { EndEvent, PromptEvent, TextRun, TokensEvent } from '../../../engine/text-job.ts';

/** Keeps a session that has moved on. */
export type Keep = (snapshot: Snapshot, record: TextRecord) => Promise<unknown>;

/** A text that is asked for: a job, the session that made it, its choices and its statistics. */
export interface TextRecord {
  readonly session: Session;
  readonly job: PreparedJob;
  /** The tokens that the client gave: for encoder-decoder models the source. */
  readonly prompt: readonly number[];
  readonly choices: readonly ChoiceRecord[];
  /** Tokens of the prompt that a state had read before. */
  cached: number;
  seconds: number;
  /** Of the prompt's second token and those after it. */
  scores: readonly TokenScore[];
  state?: SequenceState;
  ended?: EndEvent;
}

/** One text of a job. */
export interface ChoiceRecord {
  /** Among all choices of the request. */
  readonly index: number;
  text: string;
  readonly tokens: number[];
  /** Those that came with the text; `end` has the others. */
  readonly scores: PlacedScore[];
  /** Tokens whose characters are not certain yet. */
  waiting: readonly number[];
  end?: EndEvent;
}

/** A step of an answer, which the records have taken in. */
export type Piece = { readonly record: TextRecord } & (
  | { readonly type: 'prompt'; readonly event: PromptEvent }
  | { readonly type: 'text'; readonly choice: ChoiceRecord; readonly event: TokensEvent }
  | {
      readonly type: 'end';
      readonly choice: ChoiceRecord;
      readonly event: EndEvent;
      /** Tokens that came with no text. */
      readonly tokens: readonly number[];
    }
);

/**
 * The answer of a text, piece by piece. Its session is kept before the client reads of the end.
 * @throws LinnetError as `Runner.submit`, and `ABORTED`
 */
export async function* piecesOf(record: TextRecord, run: TextRun, keep?: Keep): AsyncGenerator<Piece, void, undefined> {
  try {
    for await (const event of run) {
      if (event.type === 'prompt') {
        const { cached, seconds, scores, state } = event;
        Object.assign(record, { cached, seconds, scores, state });
        yield { type: 'prompt', record, event };
        continue;
      }
      const choice = record.choices[event.choice];
      if (event.type === 'tokens') {
        const tokens = [...choice.waiting, ...event.tokens];
        const comes = event.text !== '' || event.scores.length > 0 || event.trees.length > 0;
        choice.waiting = comes ? [] : tokens;
        if (!comes) continue;
        choice.text += event.text;
        choice.tokens.push(...tokens);
        choice.scores.push(...event.scores);
        yield { type: 'text', record, choice, event: { ...event, tokens } };
        continue;
      }
      if (event.generation.finish === 'abort') throw cancelled();
      const tokens = event.generation.tokens.slice(choice.tokens.length);
      choice.tokens.push(...tokens);
      choice.end = event;
      record.ended = event;
      if (event.choice === 0 && keep !== undefined) {
        record.session.moveOn(record.job, event);
        await keep(record.session.snapshot(), record);
      }
      yield { type: 'end', record, choice, event, tokens };
    }
  } catch (error) {
    if (record.job.state === undefined || !(error instanceof BrokenLogitsError)) throw error;
    const advice = 'the session holds numbers after which there is no next token; begin another';
    throw new ApiError('invalid_request_error', advice);
  }
}

export function finishOf({ generation }: EndEvent): 'length' | 'stop' {
  return generation.finish === 'length' ? 'length' : 'stop';
}

/** Scores of the tokens of a text; the token that ended it is not in it. */
export function visibleScores({ scores, end }: ChoiceRecord): readonly PlacedScore[] {
  return [...scores, ...(end?.scores ?? [])].slice(0, end?.generation.tokens.length);
}

export function usageOf(records: readonly TextRecord[]) {
  let [prompt, written, cached, thoughts] = [0, 0, 0, 0];
  for (const record of records) {
    prompt += record.prompt.length;
    cached += record.cached;
    const { thinking, prompt: read } = record.job;
    for (const { tokens, end } of record.choices) {
      written += tokens.length;
      if (end !== undefined) thoughts += thinking?.count(read.tokens, tokens) ?? 0;
    }
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: written,
    total_tokens: prompt + written,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: thoughts },
  };
}
