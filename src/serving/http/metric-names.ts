/** Measurements under the names of other servers too, for dashboards that were made for those. */

export const metricDialects = ['llamacpp', 'vllm'] as const;
export type MetricDialect = (typeof metricDialects)[number];

/** Our measurements by their names. */
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
 * A page of measurements in the text format of Prometheus, followed by those that the dialects have names for.
 * @param model what vLLM's dashboards pick by, as the label `model_name`
 */
export function withDialects(page: string, dialects: readonly MetricDialect[], model: string): string {
  const label = `model_name=${JSON.stringify(model)}`;
  const lines = page.split('\n').flatMap((text) => {
    const found = line.exec(text);
    if (found === null) return [];
    const [whole, comment = '', name, part = ''] = found;
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
