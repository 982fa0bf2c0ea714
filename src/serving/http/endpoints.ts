/** The endpoints of a model that writes. Routes and documentation follow from them. */
import { chatCompletions } from './dialects/chat.ts';
import { completions } from './dialects/completions.ts';
import { dialectEndpoint } from './dialects/dialect.ts';
import { nativeCompletion } from './dialects/native.ts';
import { responses } from './dialects/responses.ts';
import { embeddings, embeddingsSchema } from './embeddings.ts';
import { type DocumentedApi, type Operation, describedBody } from './api-document.ts';
import type { JsonEndpoint } from './json-endpoint.ts';
import type { EmbeddingServing, Serving } from './request-context.ts';
import { createSession, createSessionSchema, forkSchema } from './session-routes.ts';
import {
  applyTemplate,
  applyTemplateSchema,
  detokenize,
  detokenizeSchema,
  tokenize,
  tokenizeSchema,
} from './token-routes.ts';

const native = dialectEndpoint(nativeCompletion);
const embedding: JsonEndpoint<EmbeddingServing> = {
  summary: 'Texts as vectors of length 1',
  body: embeddingsSchema,
  answer: embeddings,
};

export const jsonEndpoints: Readonly<Record<string, JsonEndpoint<Serving>>> = {
  '/v1/completions': dialectEndpoint(completions),
  '/v1/chat/completions': dialectEndpoint(chatCompletions),
  '/v1/responses': dialectEndpoint(responses),
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

const bytes = 'application/octet-stream';

/** Endpoints that take no JSON, and those below a session. */
const others: readonly Operation[] = [
  { method: 'post', path: '/v1/sessions/{id}/fork', summary: 'Copies of a session', body: describedBody(forkSchema) },
  { method: 'get', path: '/v1/responses/{id}', summary: 'An earlier answer of /v1/responses' },
  { method: 'delete', path: '/v1/responses/{id}', summary: 'Forgets an answer' },
  { method: 'get', path: '/v1/sessions', summary: 'Ids of the sessions' },
  { method: 'get', path: '/v1/sessions/{id}', summary: 'A session' },
  { method: 'delete', path: '/v1/sessions/{id}', summary: 'Deletes a session' },
  { method: 'get', path: '/v1/sessions/{id}/state', summary: 'A session as a file', gives: bytes },
  { method: 'put', path: '/v1/sessions/{id}/state', summary: 'Takes a session file in, under this id', takes: bytes },
  { method: 'post', path: '/v1/sessions/import', summary: 'Takes a session file in, under a new id', takes: bytes },
  {
    method: 'get',
    path: '/slots',
    summary: 'Which texts are at work; ?fail_on_no_slot=1 answers 503 where none is free',
  },
  {
    method: 'post',
    path: '/slots/{id}',
    summary: 'Saves, restores, erases or copies a slot: ?action=save|restore|erase|clone_to, with &target= for a copy',
  },
];

export const writingApi: DocumentedApi = {
  summary: "The API of OpenAI, with endpoints of llama.cpp's server and sessions.",
  endpoints: jsonEndpoints,
  others,
  absent: absentEndpoints,
};
