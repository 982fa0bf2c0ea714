/** Measurements for Prometheus. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { RunnerObserver } from '../../engine/text-job.ts';
import type { TieredStore } from '../sessions/tiered-store.ts';
import type { StepEngine } from '../../decoding/step-engine.ts';
import type { Runner } from '../../engine/runner.ts';

const latencies = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** The measurements of one server. */
export class ServerMetrics {
  readonly registry = new Registry();
  readonly observer: RunnerObserver;
  readonly #requests: Counter<'endpoint' | 'status'>;
  readonly #seconds: Histogram<'endpoint'>;
  readonly #rejected: Counter<'reason'>;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.#requests = new Counter({
      name: 'linnet_requests_total',
      help: 'Requests answered, by endpoint and status',
      labelNames: ['endpoint', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'linnet_request_seconds',
      help: 'Time until the response began',
      labelNames: ['endpoint'],
      buckets: latencies,
      registers,
    });
    this.#rejected = new Counter({
      name: 'linnet_rejected_total',
      help: 'Requests that were not answered, by the type of their error',
      labelNames: ['reason'],
      registers,
    });
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    const promptTokens = counter('linnet_prompt_tokens_total', 'Prompt tokens read by the model');
    const promptSeconds = counter('linnet_prompt_seconds_total', 'Time spent reading prompts');
    const tokens = counter('linnet_generation_tokens_total', 'Tokens generated');
    const decodeSeconds = counter('linnet_decode_seconds_total', 'Time spent in decode rounds');
    const rounds = counter('linnet_decode_rounds_total', 'Decode rounds');
    const rows = new Histogram({
      name: 'linnet_batch_rows',
      help: 'Texts in a decode round',
      buckets: [1, 2, 4, 8, 16, 32, 64],
      registers,
    });
    const waited = new Histogram({
      name: 'linnet_queue_seconds',
      help: 'Time that requests waited before they began',
      buckets: latencies,
      registers,
    });
    const cancelled = new Counter({
      name: 'linnet_cancelled_total',
      help: 'Requests cancelled, by what they were at',
      labelNames: ['stage'],
      registers,
    });
    const prompts = new Average();
    const generation = new Average();
    const busy = new Average();
    this.#gauge('linnet_prompt_tokens_per_second', 'Prompt tokens per second of reading', () => prompts.value);
    this.#gauge('linnet_generation_tokens_per_second', 'Tokens per second of decode rounds', () => generation.value);
    this.#gauge('linnet_rows_per_round', 'Mean number of texts in a decode round', () => busy.value);
    this.observer = {
      ...textMetrics(registers),
      round(texts, seconds, given) {
        generation.add(given, seconds);
        busy.add(texts, 1);
        rows.observe(texts);
        rounds.inc();
        decodeSeconds.inc(seconds);
        tokens.inc(given);
      },
      chunk(read, seconds) {
        prompts.add(read, seconds);
        promptTokens.inc(read);
        promptSeconds.inc(seconds);
      },
      admitted(seconds) {
        waited.observe(seconds);
      },
      cancelled(stage) {
        cancelled.inc({ stage });
      },
    };
  }

  /** Adds what is read when it is asked for. */
  watch(engine: StepEngine, runner: Runner): void {
    // The state of an encoder-decoder model depends on its source.
    const bytes = engine.model.cross === undefined ? engine.newState().bytes : undefined;
    if (bytes !== undefined) this.#gauge('linnet_state_bytes', 'Bytes of the state of a new text', () => bytes);
    this.#gauge('linnet_requests_waiting', 'Requests in the queue', () => runner.waiting);
    this.#gauge('linnet_texts_running', 'Texts being read or decoded', () => runner.active);
    this.#gauge('linnet_prefix_cache_bytes', 'Bytes of states in the prefix cache', () => runner.prefixes?.bytes ?? 0);
    this.#gauge('linnet_prefix_cache_entries', 'States in the prefix cache', () => runner.prefixes?.size ?? 0);
  }

  /** Adds what is known of sessions in memory and in their store. */
  watchSessions(sessions: TieredStore): void {
    const registers = [this.registry];
    this.#gauge('linnet_sessions_warm', 'Sessions in memory', () => sessions.warm.count);
    this.#gauge('linnet_sessions_warm_bytes', 'Bytes of the sessions in memory', () => sessions.warm.bytes);
    const seconds = new Histogram({
      name: 'linnet_state_restore_seconds',
      help: 'Time to find a session, by whether it was in memory',
      labelNames: ['tier'],
      buckets: [0.0005, 0.001, ...latencies.slice(0, 8)],
      registers,
    });
    const moved = new Counter({
      name: 'linnet_state_bytes_moved_total',
      help: 'Bytes of sessions read from their store',
      registers,
    });
    sessions.observer = (tier, taken, bytes) => {
      seconds.observe({ tier }, taken);
      moved.inc(bytes);
    };
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(value());
      },
    });
  }

  /** A request is answered with an error. */
  rejected(reason: string): void {
    this.#rejected.inc({ reason });
  }

  /** A response has begun. */
  answered(endpoint: string, status: number, seconds: number): void {
    this.#requests.inc({ endpoint, status: String(status) });
    this.#seconds.observe({ endpoint }, seconds);
  }
}

/** So much for so much, since the server began. */
class Average {
  #sum = 0;
  #weight = 0;

  add(amount: number, weight: number): void {
    this.#sum += amount;
    this.#weight += weight;
  }

  get value(): number {
    return this.#weight === 0 ? 0 : this.#sum / this.#weight;
  }
}

/** Measurements of texts from when they are asked for to their end. */
function textMetrics(registers: Registry[]): RunnerObserver {
  const times = (name: string, help: string) => new Histogram({ name, help, buckets: latencies, registers });
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const first = times('linnet_time_to_first_token_seconds', 'Time from a request to the first token of a text');
  const next = times('linnet_inter_token_seconds', 'Time from one token of a text to the next');
  const whole = times('linnet_text_seconds', 'Time from a request to the end of a text');
  const reading = times('linnet_text_prompt_seconds', 'Time spent reading the prompt of a text');
  const writing = times('linnet_text_decode_seconds', 'Time of the decode rounds of a text');
  const longest = new Gauge({
    name: 'linnet_text_tokens_max',
    help: 'Tokens of the longest text, with its prompt',
    registers,
  });
  let most = 0;
  const texts = new Counter({
    name: 'linnet_texts_total',
    help: 'Texts written, by why they ended',
    labelNames: ['finished_reason'],
    registers,
  });
  const drafts = counter('linnet_drafts_total', 'Rounds of a text that verified drafts');
  const drafted = counter('linnet_draft_tokens_total', 'Tokens drafted');
  const right = counter('linnet_draft_tokens_accepted_total', 'Tokens drafted that were right');
  const prompts = counter('linnet_prefix_tokens_total', 'Tokens of prompts');
  const reused = counter('linnet_prefix_tokens_reused_total', 'Tokens of prompts that a kept state had read');
  return {
    firstTokens(seconds) {
      first.observe(seconds);
    },
    nextTokens(tokens, seconds) {
      // Tokens of a round come together: each is taken to have an equal part of the time.
      for (let i = 0; i < tokens; i++) next.observe(seconds / tokens);
    },
    ended({ finish, seconds, promptSeconds, decodeSeconds, tokens }) {
      texts.inc({ finished_reason: finish });
      whole.observe(seconds);
      reading.observe(promptSeconds);
      writing.observe(decodeSeconds);
      most = Math.max(most, tokens);
      longest.set(most);
    },
    drafted(tokens, accepted) {
      if (tokens === 0) return;
      drafts.inc();
      drafted.inc(tokens);
      right.inc(accepted);
    },
    reused(tokens, cached) {
      prompts.inc(tokens);
      reused.inc(cached);
    },
  };
}
