/** Routes of sessions: create, fork, export, import, delete. */
import { z } from 'zod';
import { checkSessionHeader, decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import { summary } from '../sessions/sessions.ts';
import type { SessionName } from '../../engine/session-store.ts';
import { type ApiRequest, post, type Route, route } from './route.ts';
import { ApiError } from './api-error.ts';
import { preparePrompt, type PromptInput } from '../../engine/prompt.ts';
import { whenEncoded } from '../../tokenizer/later-encoding.ts';
import { chatInput, chatMessages, messagesField } from './chat-messages.ts';
import type { ServerLimits } from './limits.ts';
import { type Serving, tokensLeft } from './request-context.ts';
import { checkInVocabulary, maybe, refuse, tokenId, withBody } from './request-fields.ts';
import { whole } from '../../files/schema-values.ts';

const createSchema = (limits: ServerLimits) =>
  z.object({
    prompt: maybe(z.union([z.string(), z.array(tokenId).max(limits.promptTokens)])),
    messages: maybe(messagesField(limits)),
    ttl: maybe(whole(1, limits.sessionSeconds)),
  });

type NewSession = z.output<ReturnType<typeof createSchema>>;

/** A text that has been read, but for its last token, which the first turn reads. */
async function createSession(serving: Serving, request: ApiRequest, fields: NewSession): Promise<Response> {
  const { runner, sessions } = serving;
  const { key: owner, salt, abort } = request;
  if ((fields.prompt === undefined) === (fields.messages === undefined)) {
    refuse('give one of "prompt" and "messages"', 'prompt');
  }
  const tokens = await sessionTokens(serving, fields, abort.signal);
  tokensLeft(serving, tokens.length, 1);
  let state = runner.engine.newState();
  if (tokens.length > 1) {
    const prompt = { tokens: tokens.slice(0, -1) };
    for await (const event of runner.submit({ prompt, maxTokens: 0, owner, salt, signal: abort.signal })) {
      if (event.type === 'prompt') state = event.state;
    }
  }
  return Response.json(await sessions.create(owner, { state, tokens }, fields.ttl), { status: 201 });
}

async function sessionTokens(
  serving: Serving,
  { prompt, messages }: NewSession,
  signal: AbortSignal,
): Promise<readonly number[]> {
  const { model } = serving;
  if (messages === undefined && (prompt ?? []).length === 0 && prompt !== '')
    refuse('a session needs a prompt', 'prompt');
  const input: PromptInput =
    messages !== undefined
      ? chatInput(serving, { messages: chatMessages(messages), addGenerationPrompt: false })
      : typeof prompt === 'string'
        ? { text: prompt }
        : { tokens: prompt ?? [] };
  const { tokens } = await whenEncoded(() => preparePrompt(model, input), signal);
  if (messages === undefined) checkInVocabulary(tokens, model.vocabulary, 'prompt');
  return tokens;
}

/** Takes a session file in, under the id of the address or a new one. */
async function importSession(
  { sessions, model, runner, limits, bodies }: Serving,
  request: ApiRequest,
): Promise<Response> {
  const { raw, key, params, abort } = request;
  if (!/^application\/octet-stream\b/i.test(raw.headers.get('content-type') ?? '')) {
    throw new ApiError('unsupported_media_type_error', 'send a session as "content-type: application/octet-stream"');
  }
  // Untrusted: its header is checked before more is kept, and the whole before it is used.
  const judge = (beginning: Buffer) => checkSessionHeader(beginning, model.fingerprint);
  const { state, tokens, random } = await withBody(raw, { most: limits.sessionBytes, bodies, judge }, (bytes) =>
    decodeSession(bytes, runner.engine, model.fingerprint),
  );
  // Without the learning of its drafters.
  const session = { state, tokens, random };
  const kept = 'id' in params ? sessions.put(named(request), session, abort.signal) : sessions.create(key, session);
  return Response.json(await kept, { status: 201 });
}

async function sessionFile({ sessions, model }: Serving, request: ApiRequest): Promise<Response> {
  // What drafters have learned comes from other texts too.
  const { state, tokens, random } = (await sessions.load(named(request))).session;
  const file = encodeSession({ state, tokens, random, fingerprint: model.fingerprint });
  return new Response(Uint8Array.from(file), { headers: { 'content-type': bytes } });
}

function named({ key, params }: ApiRequest): SessionName {
  return { owner: key, id: params.id };
}

const bytes = 'application/octet-stream';
const one = '/v1/sessions/{id}';

export const sessionRoutes: readonly Route<Serving>[] = [
  post('/v1/sessions', 'Reads a text into a session', createSchema, createSession),
  route('get', '/v1/sessions', 'Lists session ids', async ({ sessions }: Serving, { key }) =>
    Response.json({ object: 'list', data: await sessions.list(key) }),
  ),
  route('post', '/v1/sessions/import', 'Imports a session file under a new id', importSession, { takes: bytes }),
  route('get', one, 'Describes a session', async ({ sessions }: Serving, request) =>
    Response.json(summary(named(request), await sessions.load(named(request)))),
  ),
  route('delete', one, 'Deletes a session', async ({ sessions }: Serving, request) => {
    await sessions.remove(named(request), request.abort.signal);
    return Response.json({ id: request.params.id, object: 'session', deleted: true });
  }),
  route('get', `${one}/text`, 'Gives the text of a session', async ({ sessions, model }: Serving, request) => {
    const { tokens } = (await sessions.load(named(request))).session;
    const text = model.tokenizer.decode(Array.from(tokens));
    return Response.json({ id: request.params.id, object: 'session.text', text });
  }),
  post(
    `${one}/fork`,
    'Copies a session',
    () => z.object({ count: maybe(whole(1, 64)) }),
    async ({ sessions }: Serving, request, { count = 1 }) => {
      const { session, ttl } = await sessions.load(named(request));
      // A stored session is never changed: its forks share the state until they have turns of their own.
      const data = await sessions.createAll(count, request.key, session, ttl);
      return Response.json({ object: 'list', data }, { status: 201 });
    },
    { optional: true },
  ),
  route('get', `${one}/state`, 'Exports a session as a file', sessionFile, { gives: bytes }),
  route('put', `${one}/state`, 'Imports a session file under this id', importSession, { takes: bytes }),
];
