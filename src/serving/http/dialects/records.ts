/** The texts of a request as its answer tells them: each job with its choices, which grow with the events of the runner. */
import type { SequenceState } from '../../../decoding/state/sequence-state.ts';
import type { Snapshot } from '../../../decoding/state/session-format.ts';
import { cancelled } from '../../../engine/running-job.ts';
import type { PreparedJob, Session } from '../../../engine/session.ts';
import type { PlacedScore, TokenScore } from '../../../engine/text/scores.ts';
import { BrokenLogitsError } from '../../../errors.ts';
import { ApiError } from '../api-error.ts';
import type { EndEvent, PromptEvent, TextEvent, TextRun, TokensEvent } from '../../../engine/text-job.ts';

/** A text that is asked for: a job, and the session that made it. */
export interface AskedText {
  readonly session: Session;
  readonly job: PreparedJob;
}

/** Keeps a session that has moved on. */
export type Keep = (snapshot: Snapshot, record: TextRecord) => Promise<unknown>;

/** A text with its prompt, its choices and its statistics. */
export interface TextRecord extends AskedText {
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

export function recordsOf(texts: readonly AskedText[]): TextRecord[] {
  let choices = 0;
  return texts.map(({ session, job }) => ({
    session,
    job,
    prompt: job.prompt.source ?? job.prompt.tokens,
    choices: Array.from({ length: job.n ?? 1 }, () => ({
      index: choices++,
      text: '',
      tokens: [],
      scores: [],
      waiting: [],
    })),
    cached: 0,
    seconds: 0,
    scores: [],
  }));
}

/** The answer to a request, piece by piece, in the order in which events of its texts come. */
export class AnswerPieces {
  readonly #records: readonly TextRecord[];
  readonly #runs: readonly TextRun[];
  readonly #keep: Keep | undefined;
  readonly #abort: AbortController;
  /** Of several texts, the events that are waited for. */
  readonly #pending = new Map<number, Promise<{ at: number; result: IteratorResult<TextEvent, void> }>>();

  /** @param abort fired at the end, and where a text fails */
  constructor(
    records: readonly TextRecord[],
    runs: readonly TextRun[],
    keep: Keep | undefined,
    abort: AbortController,
  ) {
    this.#records = records;
    this.#runs = runs;
    this.#keep = keep;
    this.#abort = abort;
    if (runs.length > 1) for (const at of runs.keys()) this.#ask(at);
  }

  /** The next piece; undefined after the last. @throws LinnetError as `Runner.submit`, and `ABORTED` */
  async next(): Promise<Piece | undefined> {
    try {
      for (;;) {
        const next = await this.#event();
        const piece = next && (await this.#take(this.#records[next.at], next.event));
        if (next !== undefined && piece === undefined) continue;
        // Before the client reads of the end: the session is free for its next turn then.
        if (piece === undefined) this.#abort.abort();
        return piece;
      }
    } catch (error) {
      this.end();
      const isMade = this.#records.some(({ job }) => job.state !== undefined);
      if (!isMade || !(error instanceof BrokenLogitsError)) throw error;
      throw new ApiError(
        'invalid_request_error',
        'the session holds numbers after which there is no next token; begin another',
      );
    }
  }

  /** Gives up the texts that are still written. */
  end(): void {
    for (const promise of this.#pending.values()) promise.catch(() => undefined);
    for (const run of this.#runs) run.return().catch(() => undefined);
    this.#abort.abort();
  }

  #ask(at: number): void {
    this.#pending.set(
      at,
      this.#runs[at].next().then((result) => ({ at, result })),
    );
  }

  async #event(): Promise<{ readonly at: number; readonly event: TextEvent } | undefined> {
    if (this.#runs.length === 1) {
      const { done, value } = await this.#runs[0].next();
      return done === true ? undefined : { at: 0, event: value };
    }
    while (this.#pending.size > 0) {
      const { at, result } = await Promise.race(this.#pending.values());
      this.#pending.delete(at);
      if (result.done === true) continue;
      this.#ask(at);
      return { at, event: result.value };
    }
    return undefined;
  }

  /** Takes an event into the record; when a text has ended, its session is kept before the client reads of it. */
  async #take(record: TextRecord, event: TextEvent): Promise<Piece | undefined> {
    if (event.type === 'prompt') {
      const { cached, seconds, scores, state } = event;
      Object.assign(record, { cached, seconds, scores, state });
      return { type: 'prompt', record, event };
    }
    const choice = record.choices[event.choice];
    if (event.type === 'tokens') {
      const tokens = [...choice.waiting, ...event.tokens];
      const comes = event.text !== '' || event.scores.length > 0 || event.trees.length > 0;
      choice.waiting = comes ? [] : tokens;
      if (!comes) return undefined;
      choice.text += event.text;
      choice.tokens.push(...tokens);
      choice.scores.push(...event.scores);
      return { type: 'text', record, choice, event: { ...event, tokens } };
    }
    if (event.generation.finish === 'abort') throw cancelled();
    const tokens = event.generation.tokens.slice(choice.tokens.length);
    choice.tokens.push(...tokens);
    choice.end = event;
    record.ended = event;
    if (event.choice === 0 && this.#keep !== undefined) {
      record.session.moveOn(record.job, event);
      await this.#keep(record.session.snapshot(), record);
    }
    return { type: 'end', record, choice, event, tokens };
  }
}

export function finishOf({ generation }: EndEvent): 'length' | 'stop' {
  return generation.finish === 'length' ? 'length' : 'stop';
}

/** Scores of the tokens of a text; the token that ended it is not in it. */
export function visibleScores({ scores, end }: ChoiceRecord): readonly PlacedScore[] {
  return [...scores, ...(end?.scores ?? [])].slice(0, end?.generation.tokens.length);
}

/** Tokens of thoughts in texts that have ended. */
function thoughtTokens({ job, choices }: TextRecord): number {
  const counts = choices.map(({ end, tokens }) => (end && job.thinking?.count(job.prompt.tokens, tokens)) ?? 0);
  return counts.reduce((sum, count) => sum + count, 0);
}

export function usageOf(records: readonly TextRecord[]) {
  let [prompt, written, cached] = [0, 0, 0];
  for (const record of records) {
    prompt += record.prompt.length;
    cached += record.cached;
    for (const { tokens } of record.choices) written += tokens.length;
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: written,
    total_tokens: prompt + written,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: records.reduce((sum, record) => sum + thoughtTokens(record), 0) },
  };
}
