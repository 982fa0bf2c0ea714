/** A server of a classifier or an encoder: classes in the shapes of two well-known servers, vectors, tokens. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { LaidOutText } from '../../data/datasets/text-layouts.ts';
import type { ScoredClassification } from '../../open/text-reader.ts';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import { ApiError } from '../http/api-error.ts';
import { embeddingRoutes } from '../http/embeddings.ts';
import { ollamaFacts, ollamaVectors } from '../http/ollama-routes.ts';
import type { ServerLimits } from '../http/limits.ts';
import { checkLength, answeredName, type EmbeddingServing } from '../http/request-context.ts';
import { modelName, optionalFlag, refuse } from '../http/request-fields.ts';
import { type ApiRequest, post, type Route } from '../http/route.ts';
import { tokenRoutes } from '../http/token-routes.ts';
import type { ServerMetrics } from '../http/metrics.ts';
import type { Classifier, Encoder } from '../../open/readers.ts';
import { textRoutes } from '../http/text-api.ts';
import { listen, type Listening } from '../listen.ts';
import { type HttpOptions, surroundings } from '../server.ts';
import { type ApiDefinition, createApi } from '../http/app.ts';
import { TextLine } from './text-line.ts';

/** The server of a classifier or an encoder, as its routes use it. */
interface EncoderServing extends EmbeddingServing {
  readonly model: Encoder | Classifier;
  readonly line: TextLine;
  readonly metrics: ServerMetrics;
}

interface Asked {
  readonly text: string;
  readonly pair?: string;
}

function classifySchema(limits: ServerLimits) {
  const error = `expected a text, or 1 to ${limits.prompts} texts`;
  return z.object({
    model: modelName,
    input: z.union([z.string(), z.array(z.string()).min(1).max(limits.prompts)], { error }),
    truncate: optionalFlag,
  });
}

type Texts = z.output<ReturnType<typeof classifySchema>>;

/** Classifies texts, in the shape of vLLM's server. */
async function classify(serving: EncoderServing, { abort }: ApiRequest, fields: Texts): Promise<Response> {
  const name = answeredName(serving, fields.model);
  const asked = (typeof fields.input === 'string' ? [fields.input] : fields.input).map((text) => ({ text }));
  const { answers, tokens } = await classesOf(serving, asked, { ...fields, field: 'input', signal: abort.signal });
  return Response.json({
    id: `classify-${randomUUID().replaceAll('-', '')}`,
    object: 'list',
    created: Math.floor(Date.now() / 1000),
    model: name,
    data: answers.map(({ label, classes, value }, index) => ({
      index,
      label,
      // The number of a regression head is no probability.
      ...(value === undefined ? { probs: classes.map(({ probability }) => probability) } : { value }),
      num_classes: classes.length,
    })),
    usage: { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null },
  });
}

function predictSchema(limits: ServerLimits) {
  const sequence = z.array(z.string()).min(1).max(2);
  const error = `expected a text, a pair of texts, or up to ${limits.prompts} lists of one or two texts`;
  return z.object({
    inputs: z.union([z.string(), sequence, z.array(sequence).min(1).max(limits.prompts)], { error }),
    raw_scores: optionalFlag,
    truncate: optionalFlag,
  });
}

type Sequences = z.output<ReturnType<typeof predictSchema>>;

/** Classes of texts, the likeliest first, in the shape of text-embeddings-inference. */
async function predict(serving: EncoderServing, { abort }: ApiRequest, fields: Sequences): Promise<Response> {
  const { inputs, raw_scores: raw = false, truncate } = fields;
  const one = typeof inputs === 'string' || inputs.every((part) => typeof part === 'string');
  const lists = typeof inputs === 'string' ? [[inputs]] : inputs.some(isText) ? [inputs.filter(isText)] : inputs;
  const asked = lists.filter((list) => !isText(list)).map(([text, pair]): Asked => ({ text, pair }));
  const options = { truncate, field: 'inputs', signal: abort.signal };
  const { answers } = await classesOf(serving, asked, options);
  const results = answers.map(({ classes, logits, value }) =>
    classes
      .map(({ label, probability }, index) => ({ label, score: value ?? (raw ? logits[index] : probability) }))
      .sort((a, b) => b.score - a.score),
  );
  return Response.json(one ? results[0] : results);
}

function isText(part: string | readonly string[]): part is string {
  return typeof part === 'string';
}

/** @throws ApiError if the model has no classes, or for an empty or overlong text */
async function classesOf(
  { model, line, limits, metrics }: EncoderServing,
  asked: readonly Asked[],
  { truncate = false, field, signal }: { readonly truncate?: boolean; readonly field: string; signal: AbortSignal },
): Promise<{ readonly answers: ScoredClassification[]; readonly tokens: number }> {
  if (model.reader.classifier === undefined) {
    throw new ApiError('not_supported_error', `${model.name} is an encoder without classes: use /v1/embeddings`);
  }
  const longest = Math.min(model.reader.longest, limits.textTokens);
  const most = truncate ? longest : Infinity;
  return line.enter(async () => {
    const answers: ScoredClassification[] = [];
    let tokens = 0;
    // One after the other: waiting texts can be cancelled, and take no memory.
    for (const { text, pair } of asked) {
      const laidOut = await whenEncoded(() => model.reader.layOut(model.tokenizer, text, pair, most), signal);
      if (laidOut.tokens.length === 0) refuse('a text is empty', field);
      checkLength(field, laidOut.tokens.length, longest);
      tokens += laidOut.tokens.length;
      answers.push(await measured(metrics, laidOut, () => line.turn(() => model.reader.classify(laidOut), signal)));
    }
    return { answers, tokens };
  });
}

async function measured<T>(metrics: ServerMetrics, { tokens }: LaidOutText, run: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await run();
  metrics.observer.chunk?.(tokens.length, (performance.now() - started) / 1000);
  return result;
}

function encoderEmbedder({
  model,
  line,
  limits,
  metrics,
}: Omit<EncoderServing, 'embeddings' | 'contextSize'>): EmbeddingServing['embeddings'] {
  return {
    width: model.reader.backbone.sizes.width,
    longest: Math.min(model.reader.longest, limits.textTokens),
    layOut: (text, most) => [...model.reader.layOut(model.tokenizer, text, undefined, most).tokens],
    embed: (ids, signal) =>
      line.enter(() => {
        const tokens = Int32Array.from(ids);
        const text = { tokens, pairStart: tokens.length };
        return measured(metrics, text, () => line.turn(() => model.reader.embedding(text), signal));
      }),
  };
}

export const encoderRoutes: readonly Route<EncoderServing>[] = [
  post('/classify', "Classifies texts, in vLLM's format", classifySchema, classify),
  post('/v1/classify', 'Answers as /classify', classifySchema, classify),
  post('/predict', "Classifies texts or pairs of texts, in text-embeddings-inference's format", predictSchema, predict),
  ...embeddingRoutes,
  ...ollamaVectors,
  ...ollamaFacts(() => ['embedding']),
  ...tokenRoutes,
];

/** How such a model is served. */
export interface EncoderServerOptions {
  readonly http: HttpOptions;
  /** Maximum of running and waiting requests; more are refused with 429. Default 72. */
  readonly maxRequests?: number;
}

/** Serves a model, which stays the caller's. @throws LinnetError as `startServer` */
export async function startEncoderServer(
  model: Encoder | Classifier,
  { http, maxRequests = 72 }: EncoderServerOptions,
): Promise<Listening> {
  model.prepare();
  const line = new TextLine(maxRequests);
  const around = { ...surroundings(http), model, line };
  const embeddings = encoderEmbedder(around);
  const serving = { ...around, embeddings, contextSize: embeddings.longest };
  return listen(createApi<EncoderServing>(serving, encoderApi(model)), http, {
    serving,
    settle: () => line.close(),
  });
}

/** Routes of generating models are refused, with the routes that the model has. */
function encoderApi({ kind, reader }: EncoderServing['model']): ApiDefinition<EncoderServing> {
  const {
    classifier,
    backbone: { sizes },
  } = reader;
  const [name, can] =
    kind === 'classifier' ? ['a classifier', '/classify, /predict, /v1/embeddings'] : ['an encoder', '/v1/embeddings'];
  const paths = new Set(encoderRoutes.map(({ path }) => path));
  return {
    summary: 'A model that reads texts without generating any: classes, vectors, tokens.',
    routes: encoderRoutes,
    refused: {
      paths: textRoutes.map(({ path }) => path).filter((path) => !paths.has(path)),
      why: `this model is ${name} and generates no text: it answers ${can}`,
    },
    meta: () => ({
      kind,
      n_embd: sizes.width,
      labels: classifier?.labels,
      regression: classifier?.isRegression,
    }),
    load: ({ line }) => line.requests,
    properties: ({ line, embeddings }) => ({
      total_slots: line.most,
      max_input_length: embeddings.longest,
    }),
  };
}
