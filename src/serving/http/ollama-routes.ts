/** Routes of Ollama that write no text: names and sizes of the model, vectors. */
import { z } from 'zod';
import { describeSoftware } from '../../report/provenance.ts';
import { formatShortCount } from '../../report/quantities.ts';
import { vectorsOf } from './embeddings.ts';
import type { ServerLimits } from './limits.ts';
import { type EmbeddingServing, modelNames, type ServedModel, taggedName } from './request-context.ts';
import { maybe, modelName, optionalFlag } from './request-fields.ts';
import { post, type Route, route } from './route.ts';

const embedSchema = (limits: ServerLimits) =>
  z.object({
    model: modelName,
    input: z.union([z.string(), z.array(z.string()).max(limits.embeddings)], {
      error: `expected a text, or up to ${limits.embeddings} texts`,
    }),
    truncate: optionalFlag,
    dimensions: maybe(z.int().min(1)),
  });

export const ollamaVectors: readonly Route<EmbeddingServing>[] = [
  post(
    '/api/embed',
    "Embeds texts as vectors of length 1, in Ollama's format",
    embedSchema,
    async (serving: EmbeddingServing, { abort }, { model, input, truncate = true, dimensions }) => {
      const started = performance.now();
      const answered = taggedName(serving, model);
      const { vectors, tokens } = await vectorsOf(serving, input, { truncate, dimensions }, abort.signal);
      return Response.json({
        model: answered,
        embeddings: vectors.map((vector) => Array.from(vector)),
        total_duration: Math.round(1e6 * (performance.now() - started)),
        load_duration: 0,
        prompt_eval_count: tokens,
      });
    },
  ),
  post(
    '/api/embeddings',
    "Embeds a text as a vector of length 1, in Ollama's older format",
    () => z.object({ model: modelName, prompt: z.string() }),
    async (serving: EmbeddingServing, { abort }, { model, prompt }) => {
      taggedName(serving, model);
      const { vectors } = await vectorsOf(serving, prompt, { truncate: true }, abort.signal);
      return Response.json({ embedding: Array.from(vectors[0]) });
    },
  ),
];

function detailsOf({ family, parameterCount }: ServedModel) {
  const size = formatShortCount(parameterCount);
  const families = [family];
  return { parent_model: '', format: 'linnet', family, families, parameter_size: size, quantization_level: '' };
}

/** An entry of a list for each name. A name without a tag has the tag "latest". */
function entriesOf(serving: EmbeddingServing, more: object) {
  const { model } = serving;
  return modelNames(serving).map((served) => {
    const tagged = served.includes(':') ? served : `${served}:latest`;
    return {
      name: tagged,
      model: tagged,
      size: model.fileBytes,
      digest: model.fingerprint,
      details: detailsOf(model),
      ...more,
    };
  });
}

function openedAt({ created }: ServedModel): string {
  return new Date(1000 * created).toISOString();
}

/** @param capabilities the model's capabilities by Ollama's names */
export function ollamaFacts(
  capabilities: (model: ServedModel) => readonly string[],
): readonly Route<EmbeddingServing>[] {
  return [
    route('get', '/api/tags', "Lists the model's names, in Ollama's format", (serving: EmbeddingServing) =>
      Response.json({ models: entriesOf(serving, { modified_at: openedAt(serving.model) }) }),
    ),
    route('get', '/api/ps', 'Lists loaded models: always this one', (serving: EmbeddingServing) => {
      const loaded = { expires_at: '9999-12-31T23:59:59Z', size_vram: 0, context_length: serving.contextSize };
      return Response.json({ models: entriesOf(serving, loaded) });
    }),
    route('get', '/api/version', "Gives Linnet's version", () => Response.json({ version: describeSoftware().linnet })),
    post(
      '/api/show',
      "Gives the model's sizes and chat template",
      () => z.object({ model: modelName, name: modelName }),
      (serving: EmbeddingServing, _, fields) => {
        const { model, embeddings } = serving;
        taggedName(serving, fields.model ?? fields.name);
        const { family, parameterCount, trainedLength, vocabulary, template } = model;
        return Response.json({
          license: '',
          modelfile: '',
          parameters: '',
          system: '',
          template: template?.source ?? '',
          details: detailsOf(model),
          model_info: {
            'general.architecture': family,
            'general.parameter_count': parameterCount,
            [`${family}.context_length`]: trainedLength,
            [`${family}.embedding_length`]: embeddings.width,
            [`${family}.vocab_size`]: vocabulary,
          },
          capabilities: capabilities(model),
          modified_at: openedAt(model),
        });
      },
    ),
  ];
}
