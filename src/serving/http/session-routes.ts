/** /v1/sessions: create, fork, export, import, delete. */
import { z } from 'zod';
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import { summary } from '../sessions/sessions.ts';
import type { StateName } from '../sessions/state-store.ts';
import { ApiError } from './api-error.ts';
import { readBody } from './body.ts';
import { preparePrompt } from '../../engine/prompt.ts';
import { chatMessages, chatPrompt, messageSchema } from './chat-messages.ts';
import { perLimits } from './limits.ts';
import { type ApiRequest, type Serving, tokensLeft } from './request-context.ts';
import { checkBody, checkToken, maybe } from './request-fields.ts';

export const createSessionSchema = perLimits((limits) => {
  return z.object({
    prompt: maybe(z.union([z.string(), z.array(z.int().min(0).max(0xffffff)).max(limits.promptTokens)])),
    messages: maybe(z.array(messageSchema).min(1).max(limits.messages)),
    ttl: maybe(z.int().min(1).max(limits.sessionSeconds)),
  });
});

/** POST /v1/sessions: a text that has been read, but for its last token, which the first turn reads. */
export async function createSession(serving: Serving, request: ApiRequest): Promise<Response> {
  const { model, limits, runner, sessions } = serving;
  const fields = checkBody(createSessionSchema(limits), request.body);
  if ((fields.prompt === undefined) === (fields.messages === undefined)) {
    throw new ApiError('invalid_request_error', 'give one of "prompt" and "messages"', { param: 'prompt' });
  }
  const tokens = sessionTokens(serving, fields);
  tokensLeft(serving, tokens.length, 1);
  let state = model.engine.newState();
  if (tokens.length > 1) {
    const { key: owner, salt, abort } = request;
    const prompt = { tokens: tokens.slice(0, -1) };
    for await (const event of runner.submit({ prompt, maxTokens: 0, owner, salt, signal: abort.signal })) {
      if (event.type === 'prompt') state = event.state;
    }
  }
  return Response.json(await sessions.create(request.key, { state, tokens }, fields.ttl), { status: 201 });
}

function sessionTokens(
  serving: Serving,
  { prompt, messages }: z.output<ReturnType<typeof createSessionSchema>>,
): readonly number[] {
  const { model } = serving;
  if (messages !== undefined) {
    return chatPrompt(serving, { messages: chatMessages(messages), addGenerationPrompt: false }).tokens;
  }
  if (prompt === undefined || (typeof prompt !== 'string' && prompt.length === 0)) {
    throw new ApiError('invalid_request_error', 'a session needs a prompt', { param: 'prompt' });
  }
  const { tokens } = preparePrompt(model, typeof prompt === 'string' ? { text: prompt } : { tokens: prompt });
  for (const id of tokens) checkToken(id, model.engine.model.sizes.vocabulary, 'prompt');
  return tokens;
}

export const forkSchema = z.object({ count: maybe(z.int().min(1).max(64)) });

/** POST /v1/sessions/{id}/fork. */
export async function forkSession({ sessions }: Serving, id: string, { body, key }: ApiRequest): Promise<Response> {
  const { count = 1 } = checkBody(forkSchema, body);
  const { session, ttl } = await sessions.load({ owner: key, id });
  const data: object[] = [];
  // A stored session is never changed: its forks share the state until they have turns of their own.
  while (data.length < count) data.push(await sessions.create(key, session, ttl));
  return Response.json({ object: 'list', data }, { status: 201 });
}

/** GET /v1/sessions/{id}. */
export async function describeSession({ sessions }: Serving, name: StateName): Promise<Response> {
  return Response.json(summary(name, await sessions.load(name)));
}

/** GET /v1/sessions/{id}/state. */
export async function exportSession({ sessions, model }: Serving, id: string, key: string): Promise<Response> {
  const { session } = await sessions.load({ owner: key, id });
  const bytes = encodeSession({ ...session, fingerprint: model.fingerprint });
  return new Response(Uint8Array.from(bytes), { headers: { 'content-type': 'application/octet-stream' } });
}

/** PUT /v1/sessions/{id}/state, and POST /v1/sessions/import for a new id. */
export async function importSession(
  { sessions, model, limits }: Serving,
  id: string | undefined,
  key: string,
  request: Request,
): Promise<Response> {
  if (!/^application\/octet-stream\b/i.test(request.headers.get('content-type') ?? '')) {
    throw new ApiError('unsupported_media_type_error', 'a session is sent as "content-type: application/octet-stream"');
  }
  const bytes = await readBody(request, limits.sessionBytes);
  // It may be anyone's: it is checked as a whole first.
  const session = await decodeSession(bytes, model.engine, model.fingerprint);
  const kept = id === undefined ? sessions.create(key, session) : sessions.put({ owner: key, id }, session);
  return Response.json(await kept, { status: 201 });
}
