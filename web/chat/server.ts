/** Requests to the server that the page came from. */
import { type AnswerPiece, messageOf, readAnswer, recordOf } from './answer-stream.ts';
import type { Turn } from './conversation.ts';
import { type Settings, toolsOf } from './settings.ts';

export interface ServerFacts {
  readonly model: string;
  /** Whether the model has a chat template; without one, texts are continued verbatim. */
  readonly chat: boolean;
  /** What the model's authors advise. */
  readonly advised: Partial<Pick<Settings, 'temperature' | 'topP' | 'topK'>>;
}

/** The server wants an API key, or a different one. */
export class KeyNeeded extends Error {
  constructor() {
    super('The server requires an API key.');
    this.name = 'KeyNeeded';
  }
}

/** A text to continue. */
export interface ContinuationRequest {
  /** Turns so far; the model answers or continues the last. */
  readonly path: readonly Turn[];
  readonly settings: Settings;
  readonly chat: boolean;
  /** Server session whose text comes before all turns. */
  readonly session: string | undefined;
}

const noAnswer = 'The server does not answer. Check that it still runs and can be reached from here, then try again.';

export class Server {
  readonly #key: string;
  readonly #onKeyNeeded: () => void;

  /** @param key API key; empty for none @param onKeyNeeded called whenever the server rejects it */
  constructor(key: string, onKeyNeeded: () => void) {
    this.#key = key;
    this.#onKeyNeeded = onKeyNeeded;
  }

  /** @throws KeyNeeded */
  async facts(): Promise<ServerFacts> {
    const answer = recordOf(await (await this.#ask('/props')).json());
    const { model_alias: model, chat_template: template, default_generation_settings: sampled } = answer;
    const { temperature, top_p: topP, top_k: topK } = recordOf(recordOf(sampled).params);
    const isAdvice = typeof temperature === 'number' && (temperature !== 1 || topP !== 1 || topK !== undefined);
    return {
      model: String(model),
      chat: typeof template === 'string' && template !== '',
      advised: isAdvice ? { temperature, topP: Number(topP), topK: Number(topK ?? 0) } : {},
    };
  }

  /** The answer, piece by piece. @throws Error with the server's message */
  async *answer(question: ContinuationRequest, signal: AbortSignal): AsyncGenerator<AnswerPiece, void, undefined> {
    const { path, settings, chat, session } = question;
    // A copy leaves the session free for other branches; it is deleted afterwards.
    const copy = session === undefined ? undefined : await this.#fork(session);
    try {
      const { body } = await this.#ask(chat ? '/v1/chat/completions' : '/v1/completions', {
        json: {
          ...(chat ? chatFields(path, settings) : { prompt: textOf(path) }),
          session_id: copy,
          stream: true,
          stream_options: { include_tree: true },
          temperature: settings.temperature,
          top_p: settings.topP,
          top_k: settings.topK,
          max_tokens: settings.maxTokens,
          seed: settings.seed,
          speculate: settings.speculation === 'server' ? undefined : settings.speculation,
        },
        signal,
      });
      if (body === null) throw new Error('The answer of the server is empty.');
      yield* readAnswer(body, signal);
    } finally {
      if (copy !== undefined) void this.forget(copy);
    }
  }

  /** The state after the request's turns, as a session file. */
  async saveSession({ path, settings, chat, session }: ContinuationRequest): Promise<Blob> {
    const made =
      session !== undefined && path.length === 0
        ? session
        : await this.#create(
            chat
              ? { messages: messagesOf(path, settings.system) }
              : { prompt: (session === undefined ? '' : await this.sessionText(session)) + textOf(path) },
          );
    try {
      return await (await this.#ask(`/v1/sessions/${made}/state`)).blob();
    } finally {
      if (made !== session) void this.forget(made);
    }
  }

  /** Uploads a session file. @returns its id */
  async openSession(file: Blob): Promise<string> {
    return idOf(await (await this.#ask('/v1/sessions/import', { file })).json());
  }

  async sessionText(id: string): Promise<string> {
    const { text } = recordOf(await (await this.#ask(`/v1/sessions/${id}/text`)).json());
    return String(text);
  }

  /** Deletes a session. Failures are ignored: the server drops unused sessions by itself. */
  async forget(id: string): Promise<void> {
    await this.#ask(`/v1/sessions/${id}`, { method: 'DELETE' }).catch(() => undefined);
  }

  async #create(body: object): Promise<string> {
    return idOf(await (await this.#ask('/v1/sessions', { json: body })).json());
  }

  async #fork(id: string): Promise<string> {
    const { data } = recordOf(await (await this.#ask(`/v1/sessions/${id}/fork`, { json: {} })).json());
    return idOf(Array.isArray(data) ? data[0] : undefined);
  }

  async #ask(
    path: string,
    { json, file, method, signal }: { json?: object; file?: Blob; method?: string; signal?: AbortSignal } = {},
  ): Promise<Response> {
    const headers = new Headers();
    if (this.#key !== '') headers.set('authorization', `Bearer ${this.#key}`);
    if (json !== undefined) headers.set('content-type', 'application/json');
    if (file !== undefined) headers.set('content-type', 'application/octet-stream');
    const body = json === undefined ? file : JSON.stringify(json);
    const response = await fetch(`.${path}`, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers,
      body,
      signal,
    }).catch((error: unknown) => {
      throw signal?.aborted === true ? error : new Error(noAnswer, { cause: error });
    });
    if (response.ok) return response;
    if (response.status === 401) {
      this.#onKeyNeeded();
      throw new KeyNeeded();
    }
    const answer: unknown = await response.json().catch(() => undefined);
    throw new Error(messageOf(recordOf(answer).error));
  }
}

function chatFields(path: readonly Turn[], settings: Settings) {
  const tools = toolsOf(settings);
  const messages = messagesOf(path, settings.system);
  if (tools === undefined || tools.length === 0) return { messages };
  // Calls are not forced after results, else the model would call forever.
  const forced = settings.calls === 'required' && path.at(-1)?.author === 'tool';
  return { messages, tools, tool_choice: forced ? 'auto' : settings.calls };
}

function messagesOf(path: readonly Turn[], system: string): object[] {
  const turns = path.flatMap(({ author, text, thoughts = '', finish, calls = [], results = [] }, place): object[] => {
    if (author === 'tool') {
      const asked = path[place - 1]?.calls ?? [];
      return results.map((content, index) => ({ role: 'tool', tool_call_id: asked[index].id, content }));
    }
    const made = finish === 'calls' ? calls : [];
    const tool_calls = made.map(({ id, name, json }) => ({
      id,
      type: 'function',
      function: { name, arguments: json },
    }));
    if (author === 'user') return [{ role: 'user', content: text }];
    const told = { ...(thoughts !== '' && { reasoning_content: thoughts }), ...(made.length > 0 && { tool_calls }) };
    return [{ role: 'assistant', content: text, ...told }];
  });
  return system.trim() === '' ? turns : [{ role: 'system', content: system }, ...turns];
}

function textOf(path: readonly Turn[]): string {
  return path.map(({ text }) => text).join('');
}

function idOf(summary: unknown): string {
  const { id } = recordOf(summary);
  if (typeof id !== 'string') throw new Error('The server named no session.');
  return id;
}
