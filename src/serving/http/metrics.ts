/** Measurements for Prometheus. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Runner } from '../../engine/runner.ts';
import { boundaryEvery } from '../../engine/running-job.ts';
import type { RunnerObserver } from '../../engine/text-job.ts';
import type { MemoryStore } from '../sessions/memory-store.ts';

const latencies = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

export class ServerMetrics {
  readonly registry = new Registry();
  readonly observer: RunnerObserver;
  readonly #requests = this.#counter(
    'requests_total',
    'Requests answered, by endpoint and status',
    'endpoint',
    'status',
  );
  readonly #seconds = this.#histogram('request_seconds', 'Time until the response began', latencies, 'endpoint');
  readonly #rejected = this.#counter('rejected_total', 'Failed requests, by type of error', 'reason');

  constructor() {
    collectDefaultMetrics({ register: this.registry });
    this.observer = { ...this.#work(), ...this.#texts() };
  }

  rejected(reason: string): void {
    this.#rejected.inc({ reason });
  }

  answered(endpoint: string, status: number, seconds: number): void {
    this.#requests.inc({ endpoint, status: String(status) });
    this.#seconds.observe({ endpoint }, seconds);
  }

  /** Adds measurements read on request. */
  watch(runner: Runner): void {
    // The state of an encoder-decoder model depends on its source.
    const bytes = runner.engine.stateBytes;
    if (bytes !== undefined) this.#gauge('state_bytes', 'State bytes of a new text', () => bytes);
    this.#gauge('requests_waiting', 'Requests in the queue', () => runner.waiting);
    this.#gauge('texts_running', 'Texts being read or decoded', () => runner.active);
    this.#gauge(
      'state_usage',
      'Share of rows in use, or of states held without a row, whichever is larger',
      () => runner.usage,
    );
    if (bytes !== undefined) {
      const kept = boundaryEvery * Math.floor((runner.prefixes?.maxBytes ?? 0) / bytes);
      const help = 'Prefix granularity of the cache in tokens: a prefix may end at any token';
      const about = { block_size: '1', num_gpu_blocks: String(kept) };
      new Gauge({
        name: 'linnet_prefix_cache_info',
        help,
        registers: [this.registry],
        labelNames: Object.keys(about),
      }).set(about, 1);
    }
    this.#gauge('prefix_cache_bytes', 'Bytes of states in the prefix cache', () => runner.prefixes?.bytes ?? 0);
    this.#gauge('prefix_cache_entries', 'States in the prefix cache', () => runner.prefixes?.size ?? 0);
  }

  /** Adds measurements of sessions in memory and in their store. */
  watchSessions(sessions: MemoryStore): void {
    this.#gauge('sessions_warm', 'Sessions in memory', () => sessions.count);
    this.#gauge('sessions_warm_bytes', 'Bytes of the sessions in memory', () => sessions.bytes);
    const help = 'Time to find a session, by whether it was in memory';
    const seconds = this.#histogram('state_restore_seconds', help, [0.0005, 0.001, ...latencies.slice(0, 8)], 'tier');
    const moved = this.#counter('state_bytes_moved_total', 'Bytes of sessions read from their store');
    sessions.observer = (tier, taken, bytes) => {
      seconds.observe({ tier }, taken);
      moved.inc(bytes);
    };
  }

  #work(): RunnerObserver {
    const promptTokens = this.#counter('prompt_tokens_total', 'Prompt tokens read by the model');
    const promptSeconds = this.#counter('prompt_seconds_total', 'Time spent reading prompts');
    const tokens = this.#counter('generation_tokens_total', 'Tokens generated');
    const decodeSeconds = this.#counter('decode_seconds_total', 'Time spent in decode rounds');
    const rounds = this.#counter('decode_rounds_total', 'Decode rounds');
    const rows = this.#histogram('batch_rows', 'Texts in a decode round', [1, 2, 4, 8, 16, 32, 64]);
    const cancelled = this.#counter('cancelled_total', 'Canceled requests, by phase', 'stage');
    const rate = (name: string, help: string, of: Counter | Histogram, per: Counter): void => {
      this.#gauge(name, help, async () => {
        const [total, count] = [await totalOf(of), await totalOf(per)];
        return count === 0 ? 0 : total / count;
      });
    };
    rate('prompt_tokens_per_second', 'Prompt tokens per second of reading', promptTokens, promptSeconds);
    rate('generation_tokens_per_second', 'Tokens per second of decode rounds', tokens, decodeSeconds);
    rate('rows_per_round', 'Mean number of texts in a decode round', rows, rounds);
    return {
      round(texts, seconds, count) {
        rows.observe(texts);
        rounds.inc();
        decodeSeconds.inc(seconds);
        tokens.inc(count);
      },
      chunk(read, seconds) {
        promptTokens.inc(read);
        promptSeconds.inc(seconds);
      },
      admitted: this.#times('queue_seconds', 'Time requests waited to begin'),
      cancelled(stage) {
        cancelled.inc({ stage });
      },
    };
  }

  /** Measurements of texts from when they are asked for to their end. */
  #texts(): RunnerObserver {
    const firstTokens = this.#times('time_to_first_token_seconds', 'Time from a request to the first token of a text');
    const next = this.#times('inter_token_seconds', 'Time from one token of a text to the next');
    const whole = this.#times('text_seconds', 'Time from a request to the end of a text');
    const reading = this.#times('text_prompt_seconds', 'Time spent reading the prompt of a text');
    const writing = this.#times('text_decode_seconds', 'Time of the decode rounds of a text');
    const texts = this.#counter('texts_total', 'Texts written, by finish reason', 'finished_reason');
    const drafts = this.#counter('drafts_total', 'Rounds per text that verified drafts');
    const drafted = this.#counter('draft_tokens_total', 'Tokens drafted');
    const right = this.#counter('draft_tokens_accepted_total', 'Accepted draft tokens');
    const prompts = this.#counter('prefix_tokens_total', 'Tokens of prompts');
    const reused = this.#counter('prefix_tokens_reused_total', 'Prompt tokens reused from a cached state');
    let longest = 0;
    this.#gauge('text_tokens_max', 'Tokens of the longest text, including its prompt', () => longest);
    return {
      firstTokens,
      nextTokens(tokens, seconds) {
        // A round's tokens arrive together: each gets an equal share of the time.
        for (let i = 0; i < tokens; i++) next(seconds / tokens);
      },
      ended({ finish, seconds, promptSeconds, decodeSeconds, tokens }) {
        texts.inc({ finished_reason: finish });
        whole(seconds);
        reading(promptSeconds);
        writing(decodeSeconds);
        longest = Math.max(longest, tokens);
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

  #counter<Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> {
    return new Counter({ name: `linnet_${name}`, help, labelNames, registers: [this.registry] });
  }

  #histogram<Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: Label[]
  ): Histogram<Label> {
    return new Histogram({ name: `linnet_${name}`, help, labelNames, buckets, registers: [this.registry] });
  }

  /** Takes the seconds of a kind of event. */
  #times(name: string, help: string): (seconds: number) => void {
    const times = this.#histogram(name, help, latencies);
    return times.observe.bind(times);
  }

  #gauge(name: string, help: string, value: () => number | Promise<number>): void {
    new Gauge({
      name: `linnet_${name}`,
      help,
      registers: [this.registry],
      async collect() {
        this.set(await value());
      },
    });
  }
}

/** A counter's value, or the sum of a histogram's values. */
async function totalOf(metric: Counter | Histogram): Promise<number> {
  const values: readonly { readonly value: number; readonly metricName?: string }[] = (await metric.get()).values;
  return values.find(({ metricName }) => metricName?.endsWith('_sum') !== false)?.value ?? 0;
}

export const metricDialects = ['llamacpp', 'vllm'] as const;
export type MetricDialect = (typeof metricDialects)[number];

/** Our measurements under other servers' names, for their dashboards. */
const names: Readonly<Record<MetricDialect, Readonly<Record<string, string>>>> = {
  llamacpp: {
    'llamacpp:prompt_tokens_total': 'linnet_prompt_tokens_total',
    'llamacpp:prompt_seconds_total': 'linnet_prompt_seconds_total',
    'llamacpp:tokens_predicted_total': 'linnet_generation_tokens_total',
    'llamacpp:tokens_predicted_seconds_total': 'linnet_decode_seconds_total',
    'llamacpp:n_decode_total': 'linnet_decode_rounds_total',
    'llamacpp:prompt_tokens_seconds': 'linnet_prompt_tokens_per_second',
    'llamacpp:predicted_tokens_seconds': 'linnet_generation_tokens_per_second',
    'llamacpp:n_busy_slots_per_decode': 'linnet_rows_per_round',
    'llamacpp:n_tokens_max': 'linnet_text_tokens_max',
    'llamacpp:requests_processing': 'linnet_texts_running',
    'llamacpp:requests_deferred': 'linnet_requests_waiting',
  },
  vllm: {
    'vllm:num_requests_running': 'linnet_texts_running',
    'vllm:num_requests_waiting': 'linnet_requests_waiting',
    'vllm:kv_cache_usage_perc': 'linnet_state_usage',
    'vllm:gpu_cache_usage_perc': 'linnet_state_usage',
    'vllm:cache_config_info': 'linnet_prefix_cache_info',
    'vllm:prompt_tokens_total': 'linnet_prompt_tokens_total',
    'vllm:generation_tokens_total': 'linnet_generation_tokens_total',
    'vllm:request_success_total': 'linnet_texts_total',
    'vllm:time_to_first_token_seconds': 'linnet_time_to_first_token_seconds',
    'vllm:inter_token_latency_seconds': 'linnet_inter_token_seconds',
    'vllm:e2e_request_latency_seconds': 'linnet_text_seconds',
    'vllm:request_prefill_time_seconds': 'linnet_text_prompt_seconds',
    'vllm:request_decode_time_seconds': 'linnet_text_decode_seconds',
    'vllm:request_queue_time_seconds': 'linnet_queue_seconds',
    'vllm:prefix_cache_queries_total': 'linnet_prefix_tokens_total',
    'vllm:prefix_cache_hits_total': 'linnet_prefix_tokens_reused_total',
    'vllm:spec_decode_num_drafts_total': 'linnet_drafts_total',
    'vllm:spec_decode_num_draft_tokens_total': 'linnet_draft_tokens_total',
    'vllm:spec_decode_num_accepted_tokens_total': 'linnet_draft_tokens_accepted_total',
  },
};

const line = /^(# (?:HELP|TYPE) )?(linnet_\w+?)(_bucket|_sum|_count)?(?=[ {])/;

/**
 * A page of measurements in Prometheus's text format, followed by the dialects' names for them.
 * @param model what vLLM's dashboards pick by, as the label `model_name`
 */
export function withDialects(page: string, dialects: readonly MetricDialect[], model: string): string {
  const label = `model_name=${JSON.stringify(model)}`;
  const lines = page.split('\n').flatMap((text) => {
    const match = line.exec(text);
    if (match === null) return [];
    const [whole, comment = '', name, part = ''] = match;
    return [{ comment, name, part, rest: text.slice(whole.length) }];
  });
  const translated = dialects.flatMap((dialect) =>
    Object.entries(names[dialect]).flatMap(([theirs, ours]) =>
      lines.flatMap(({ comment, name, part, rest }) => {
        if (name !== ours) return [];
        if (comment !== '' || dialect !== 'vllm') return [`${comment}${theirs}${part}${rest}`];
        return [`${theirs}${part}{${label}${rest.startsWith('{') ? `,${rest.slice(1)}` : `}${rest}`}`];
      }),
    ),
  );
  return translated.length === 0 ? page : `${page.replace(/\n*$/, '\n')}${translated.join('\n')}\n`;
}
