/** POST /completion: the endpoint of llama.cpp's server, with its fields and answers. */
import type { SlotTurn } from '../../sessions/slots.ts';
import { leadsTo } from '../../../engine/prompt.ts';
import type { PlacedScore } from '../../../engine/text/score-stream.ts';
import type { ServiceEvent, ServiceJob } from '../../../engine/text/text-service.ts';
import { asApiError } from '../api-error.ts';
import { dataEvent, eventStream, interleave } from '../event-stream.ts';
import { withWarning } from '../length-warning.ts';
import type { ApiRequest, Serving } from '../request-context.ts';
import { progressOf, timings, timingsOf } from '../timings.ts';
import { type NativeRequest, readNative } from './completion-fields.ts';

type EndEvent = Extract<ServiceEvent, { type: 'end' }>;
type Tagged = readonly [source: number, event: ServiceEvent];

/** Answers the request. @throws ApiError, and as `TextService.start` */
export async function nativeCompletion(serving: Serving, request: ApiRequest): Promise<Response> {
  const native = readNative(serving, request);
  const { fields, jobs } = native;
  const prompts = jobs.map(({ prompt }) => prompt);
  serving.texts.runner.checkRoom();
  const turn = serving.slots.take(request.key, fields.id_slot ?? -1);
  request.abort.signal.addEventListener('abort', () => {
    turn.release();
  });
  try {
    const prepared = jobs.map((job) => (fields.cache_prompt === false ? job : withSlot(job, turn)));
    const events = withSlotTurn(interleave(serving.texts.startAll(prepared)), jobs, turn);
    const writer = new NativeWriter(serving, native, turn);
    if (fields.stream === true) {
      const stream = eventStream(streamed(writer, events), () => {
        request.abort.abort();
      });
      return withWarning(serving, prompts, stream);
    }
    return withWarning(serving, prompts, Response.json(await collected(writer, events)));
  } catch (error) {
    turn.release();
    throw error;
  }
}

/** A job that goes on from the text of its slot, where its prompt begins with all that the slot has read. */
function withSlot(job: ServiceJob, { content }: SlotTurn): ServiceJob {
  return content !== undefined && leadsTo(content, job.prompt) ? { ...job, state: content.state.fork() } : job;
}

/** What is known of one prompt and its choices while they are written. */
interface Progress {
  cached: number;
  seconds: number;
  /** When the first token could be written. */
  began: number;
  readonly texts: string[];
  readonly tokens: number[][];
  readonly scores: PlacedScore[][];
  readonly written: number[];
}

/** Makes answers of events. */
class NativeWriter {
  readonly #serving: Serving;
  readonly #native: NativeRequest;
  readonly #turn: SlotTurn;
  readonly #progress: readonly Progress[];

  constructor(serving: Serving, native: NativeRequest, turn: SlotTurn) {
    this.#serving = serving;
    this.#native = native;
    this.#turn = turn;
    this.#progress = native.jobs.map(({ n }) => ({
      cached: 0,
      seconds: 0,
      began: 0,
      texts: Array.from({ length: n }, () => ''),
      tokens: Array.from({ length: n }, () => []),
      scores: Array.from({ length: n }, () => []),
      written: Array.from({ length: n }, () => 0),
    }));
  }

  /** Takes an event in; what a stream says of it, and the whole answer of a choice that has ended. */
  take([source, event]: Tagged): { readonly part?: object; readonly whole?: object } {
    const progress = this.#progress[source];
    if (event.type === 'progress') {
      return { part: { ...this.#part(source, 0, '', []), prompt_progress: progressOf(event) } };
    }
    if (event.type === 'prompt') {
      Object.assign(progress, { cached: event.cached, seconds: event.seconds, began: performance.now() });
      return {};
    }
    const { choice } = event;
    if (event.type === 'text') {
      progress.texts[choice] += event.text;
      progress.tokens[choice].push(...event.tokens);
      progress.scores[choice].push(...event.scores);
      progress.written[choice] += event.tokens.length;
      const part = this.#part(source, choice, event.text, event.tokens);
      return { part: { ...part, ...this.#probabilities(event.scores), ...this.#timingsSoFar(source, choice) } };
    }
    const rest = event.scores.slice(0, Math.max(0, event.generation.tokens.length - progress.scores[choice].length));
    progress.scores[choice].push(...rest);
    return { whole: this.#whole(source, event) };
  }

  /** The answers to a prompt that was only read. */
  readOnly(): object[] {
    const { jobs, settings, fields } = this.#native;
    return jobs.map(({ prompt }, index) => {
      const { cached, seconds } = this.#progress[index];
      const work = { cached, read: prompt.length - cached, readSeconds: seconds, written: 0, writeSeconds: 0 };
      const answer = {
        ...this.#part(index, 0, '', []),
        stop: true,
        model: this.#serving.model.name,
        tokens_cached: prompt.length,
        generation_settings: settings,
        prompt: this.#serving.model.tokenizer.decode(prompt),
        has_new_line: false,
        truncated: false,
        stop_type: 'limit',
        stopping_word: '',
        timings: timings(work),
      };
      return picked(answer, fields.response_fields);
    });
  }

  #part(source: number, choice: number, content: string, tokens: readonly number[]) {
    const { jobs } = this.#native;
    return {
      index: source * jobs[source].n + choice,
      content,
      tokens,
      stop: false,
      id_slot: this.#turn.id,
      tokens_predicted: this.#progress[source].written[choice],
      tokens_evaluated: jobs[source].prompt.length,
    };
  }

  #timingsSoFar(source: number, choice: number): object {
    const { jobs, fields } = this.#native;
    if (fields.timings_per_token !== true) return {};
    const { cached, seconds, began, written } = this.#progress[source];
    const read = jobs[source].prompt.length - cached;
    const writeSeconds = (performance.now() - began) / 1000;
    return { timings: timings({ cached, read, readSeconds: seconds, written: written[choice], writeSeconds }) };
  }

  #whole(source: number, event: EndEvent): object {
    const { fields, jobs, settings } = this.#native;
    const { model } = this.#serving;
    const { generation, choice } = event;
    const progress = this.#progress[source];
    const streams = fields.stream === true;
    const text = progress.texts[choice];
    const answer = {
      ...this.#part(source, choice, streams ? '' : text, []),
      tokens: fields.return_tokens === true && !streams ? generation.tokens : [],
      stop: true,
      model: model.name,
      tokens_predicted: generation.tokens.length,
      tokens_cached: generation.state.length,
      generation_settings: settings,
      prompt: model.tokenizer.decode(jobs[source].prompt),
      has_new_line: text.includes('\n'),
      truncated: false,
      stop_type: { eos: 'eos', length: 'limit', stop: 'word', abort: 'none' }[generation.finish],
      stopping_word: this.#stoppingWord(source, event),
      timings: timingsOf(progress, event),
      ...(streams ? {} : this.#probabilities(progress.scores[choice])),
    };
    return picked(answer, fields.response_fields);
  }

  /** The stop string that follows the text in what was decoded. */
  #stoppingWord(source: number, { generation }: EndEvent): string {
    if (generation.finish !== 'stop') return '';
    const after = this.#serving.model.tokenizer.decode(generation.tokens).slice(generation.text.length);
    const { stop } = this.#native.jobs[source];
    return (
      stop.find((word) => after.startsWith(word)) ??
      stop.find((word) => after.trimStart().startsWith(word.trimStart())) ??
      ''
    );
  }

  #probabilities(scores: readonly PlacedScore[]): object {
    const { fields } = this.#native;
    if ((fields.n_probs ?? 0) === 0) return {};
    const { pieces } = this.#serving.model;
    const after = fields.post_sampling_probs === true;
    const entry = (id: number, logprob: number) => ({
      id,
      token: pieces.of(id),
      bytes: pieces.bytesOf(id) ?? [],
      ...(after ? { prob: Math.exp(logprob) } : { logprob }),
    });
    const completion_probabilities = scores.map(({ token, logprob, top }) => ({
      ...entry(token, logprob),
      [after ? 'top_probs' : 'top_logprobs']: top.map((other) => entry(other.token, other.logprob)),
    }));
    return { completion_probabilities };
  }
}

/** Fields by their names; one inside of another is named `outer/inner`, and keeps that name. */
function picked(answer: object, names: readonly string[] | undefined): object {
  if (names === undefined || names.length === 0) return answer;
  const found = names.flatMap((name) => {
    let value: unknown = answer;
    for (const key of name.split('/')) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return [];
      value = Object.entries(value).find(([own]) => own === key)?.[1];
    }
    return [[name, value] as const];
  });
  return Object.fromEntries(found);
}

/** Events of a turn on a slot, which keeps its text and is free again at the end. */
async function* withSlotTurn(
  events: AsyncIterable<Tagged>,
  jobs: readonly ServiceJob[],
  turn: SlotTurn,
): AsyncGenerator<Tagged, void, undefined> {
  try {
    for await (const tagged of events) {
      const [source, event] = tagged;
      if (event.type === 'end' && event.choice === 0) {
        const { state, tokens } = event.generation;
        turn.commit({ state, tokens: [...jobs[source].prompt, ...tokens], sampler: event.sampler.random.state });
      }
      yield tagged;
    }
  } finally {
    turn.release();
  }
}

async function collected(writer: NativeWriter, events: AsyncIterable<Tagged>): Promise<unknown> {
  const answers: object[] = [];
  for await (const tagged of events) {
    const { whole } = writer.take(tagged);
    if (whole !== undefined) answers.push(whole);
  }
  const all = answers.length > 0 ? answers : writer.readOnly();
  return all.length === 1 ? all[0] : all;
}

async function* streamed(writer: NativeWriter, events: AsyncIterable<Tagged>): AsyncGenerator<string, void, undefined> {
  try {
    let ended = 0;
    for await (const tagged of events) {
      const { part, whole } = writer.take(tagged);
      if (part !== undefined) yield dataEvent(part);
      if (whole === undefined) continue;
      ended++;
      yield dataEvent(whole);
    }
    if (ended === 0) for (const answer of writer.readOnly()) yield dataEvent(answer);
  } catch (error) {
    yield dataEvent(asApiError(error).body);
  }
}
