/** The API of a model that writes. */
import type { SamplerInput } from '../../decoding/sampler.ts';
import type { ApiDefinition } from './app.ts';
import { chatCompletions } from './dialects/chat.ts';
import { completions } from './dialects/completions.ts';
import { dialectRoutes } from './dialects/dialect.ts';
import { ollamaChat, ollamaGenerate } from './dialects/ollama.ts';
import { responses, storedResponseRoutes } from './dialects/responses.ts';
import { embeddingRoutes } from './embeddings.ts';
import { ollamaFacts, ollamaVectors } from './ollama-routes.ts';
import type { Serving } from './request-context.ts';
import type { Route } from './route.ts';
import { sessionRoutes } from './session-routes.ts';
import { templateRoutes, tokenRoutes } from './token-routes.ts';

/** Routes of encoder-decoders, which read their source once. */
const sourceRoutes: readonly Route<Serving>[] = [...dialectRoutes(['/v1/completions'], completions), ...tokenRoutes];

/** Routes of models that continue their prompt. */
const continuingRoutes: readonly Route<Serving>[] = [
  ...dialectRoutes(['/v1/chat/completions'], chatCompletions),
  ...dialectRoutes(['/v1/responses'], responses),
  ...dialectRoutes(['/api/generate'], ollamaGenerate),
  ...dialectRoutes(['/api/chat'], ollamaChat),
  ...storedResponseRoutes,
  ...embeddingRoutes,
  ...ollamaVectors,
  ...ollamaFacts(({ template }) => ['completion', ...(template === undefined ? [] : ['tools']), 'embedding']),
  ...sessionRoutes,
  ...templateRoutes,
];

export const textRoutes: readonly Route<Serving>[] = [...sourceRoutes, ...continuingRoutes];

/** Sampling of requests that do not say how, by the names that llama.cpp has for it. */
function namedSampling({ temperature = 1, topK, topP = 1, minP, repetitionPenalty }: SamplerInput): object {
  return { temperature, top_k: topK, top_p: topP, min_p: minP, repeat_penalty: repetitionPenalty };
}

export function textApi({ decoder }: Serving['model']): ApiDefinition<Serving> {
  const { cross, sizes } = decoder;
  const continues = cross === undefined;
  return {
    summary: "OpenAI's and Ollama's APIs, llama.cpp server's token and template endpoints, and sessions.",
    routes: continues ? textRoutes : sourceRoutes,
    refused: {
      paths: continues ? [] : continuingRoutes.map(({ path }) => path),
      why: 'this model is an encoder-decoder, not a chat model: use /v1/completions',
    },
    meta: ({ runner }) => ({
      n_embd: sizes.width,
      // The state of other models depends on their source.
      state_bytes: runner.engine.stateBytes ?? null,
    }),
    load: ({ runner }) => runner.active + runner.waiting,
    properties: async ({ model, runner, limits }) => ({
      total_slots: runner.parallel,
      deterministic: runner.deterministic,
      default_generation_settings: { n_ctx: limits.promptTokens, params: namedSampling(model.defaults) },
      same_bits: await runner.engine.sameBits(),
      chat_template: model.template?.source ?? '',
    }),
  };
}
