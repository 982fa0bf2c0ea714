/** The endpoints that take JSON: what each is for, what it takes, and what answers it. Routes and documentation follow from it. */
import type { z } from 'zod';
import { chatCompletions, chatSchema } from './chat.ts';
import { completionSchema, completions } from './completions.ts';
import { embeddings, embeddingsSchema } from './embeddings.ts';
import type { ServerLimits } from './limits.ts';
import { nativeCompletion } from './llama/completion.ts';
import { nativeSchema } from './llama/completion-fields.ts';
import type { ApiRequest, Serving } from './request-context.ts';
import { responses, responsesSchema } from './responses.ts';
import { createSession, createSessionSchema } from './session-routes.ts';
import {
  applyTemplate,
  applyTemplateSchema,
  detokenize,
  detokenizeSchema,
  tokenize,
  tokenizeSchema,
} from './token-routes.ts';

export interface JsonEndpoint {
  readonly summary: string;
  readonly body: (limits: ServerLimits) => z.ZodType;
  readonly answer: (serving: Serving, request: ApiRequest) => Response | Promise<Response>;
}

const native: JsonEndpoint = {
  summary: "Continues prompts, in the shapes of llama.cpp's server",
  body: nativeSchema,
  answer: nativeCompletion,
};
const embedding: JsonEndpoint = { summary: 'Texts as vectors of length 1', body: embeddingsSchema, answer: embeddings };

export const jsonEndpoints: Readonly<Record<string, JsonEndpoint>> = {
  '/v1/completions': { summary: 'Continues prompts', body: completionSchema, answer: completions },
  '/v1/chat/completions': { summary: 'Answers messages', body: chatSchema, answer: chatCompletions },
  '/v1/responses': {
    summary: 'Answers input items; a later request may go on from an answer',
    body: responsesSchema,
    answer: responses,
  },
  '/v1/embeddings': embedding,
  '/embeddings': embedding,
  '/embedding': embedding,
  '/v1/sessions': { summary: 'Reads a text into a session', body: createSessionSchema, answer: createSession },
  '/completion': native,
  '/completions': native,
  '/tokenize': { summary: 'Tokens of a text or of messages', body: tokenizeSchema, answer: tokenize },
  '/detokenize': { summary: 'Text of tokens', body: detokenizeSchema, answer: detokenize },
  '/apply-template': {
    summary: 'The text that the chat template makes of messages',
    body: applyTemplateSchema,
    answer: applyTemplate,
  },
};

/** Endpoints of other servers that this one does not have. */
export const absentEndpoints: readonly string[] = [
  '/v1/messages',
  '/v1/messages/count_tokens',
  '/v1/audio/speech',
  '/v1/audio/transcriptions',
  '/v1/images/generations',
  '/v1/moderations',
  '/v1/batches',
  '/v1/files',
  '/infill',
  '/rerank',
  '/v1/rerank',
  '/lora-adapters',
  '/models/load',
  '/models/unload',
];
