/** Requests of any kind, made from good ones by a seed: what a server must answer without failing. */
import { type Agent, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { Random } from '../../src/random.ts';

const schema = {
  type: 'object',
  properties: { a: { enum: [1, 'x'] }, b: { type: 'string', maxLength: 3 } },
  required: ['a'],
};
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: [{ type: 'text', text: 'Tell.' }] },
];

/** Good bodies, with every field that means something somewhere. */
const bodies: Readonly<Record<string, object>> = {
  '/v1/completions': {
    model: 'tiny',
    prompt: ['Once', [1, 5, 6]],
    max_tokens: 2,
    temperature: 0.5,
    top_p: 0.9,
    top_k: 5,
    min_p: 0.1,
    n: 2,
    stop: ['x', 'yz'],
    seed: 1,
    echo: true,
    logprobs: 1,
    logit_bias: { 5: 3 },
    presence_penalty: 1,
    frequency_penalty: 1,
    repetition_penalty: 1.1,
    stop_token_ids: [7],
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
    include_stop_str_in_output: true,
    return_token_ids: true,
    return_tokens_as_token_ids: true,
    priority: -1,
    cache_salt: 's',
    session_id: 'none',
  },
  '/v1/chat/completions': {
    messages,
    max_tokens: 2,
    logprobs: true,
    top_logprobs: 2,
    response_format: { type: 'json_schema', json_schema: { name: 'a', schema } },
    chat_template_kwargs: { a: 1 },
    return_progress: true,
    return_token_ids: true,
    stream: true,
    tools: [],
    user: 'u',
  },
  '/v1/responses': {
    input: messages.slice(1),
    instructions: 'Brief.',
    max_output_tokens: 2,
    text: { format: { type: 'json_schema', name: 'a', schema } },
    previous_response_id: 'resp_x',
    metadata: { a: 'b' },
    stream: true,
    store: false,
  },
  '/v1/embeddings': { input: ['a', [1, 2]], encoding_format: 'base64', dimensions: 64 },
  '/api/embed': { model: 'tiny', input: ['a', 'b'], truncate: false, dimensions: 64 },
  '/api/embeddings': { model: 'tiny', prompt: 'a' },
  '/api/show': { model: 'tiny', verbose: true },
  '/tokenize': { content: 'a b', add_special: true, parse_special: true, with_pieces: true, messages },
  '/detokenize': { tokens: [1, 2, 3] },
  '/apply-template': { messages, add_generation_prompt: false },
  '/v1/sessions': { prompt: 'Once', messages },
  '/v1/sessions/none/fork': { count: 2 },
};

const paths = [
  ...Object.keys(bodies),
  '/health',
  '/v1/models',
  '/v1/models/x',
  '/props',
  '/slots',
  '/completion',
  '/metrics',
  '/openapi.json',
  '/docs',
  '/infill',
  '/api/tags',
  '/api/pull',
  '/v1/sessions/none',
  '/v1/sessions/none/state',
  '/v1/sessions/import',
  '/v1/responses/none',
  '/%00',
  '/..%2f..%2fetc/passwd',
];

const values: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  0.5,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  -(2 ** 53),
  1e308,
  5e-324,
  '',
  'a',
  '\u0000',
  '\ud800',
  '</s>',
  '<s>{{ 7*7 }}{% raw %}',
  'é😀'.repeat(50),
  [],
  {},
  [[]],
  [null],
  [[[[[[[[]]]]]]]],
  { a: { a: { a: {} } } },
  { type: 'json_object' },
  { type: 'text' },
  { $ref: '#' },
  { type: 'string', pattern: '(a*)*b' },
  { type: 'array', items: { type: 'integer', minimum: -5, maximum: 7 }, maxItems: 3 },
  { anyOf: [{ type: 'null' }, { type: 'number', exclusiveMinimum: 0 }] },
  ['__proto__', 'constructor'],
  'x'.repeat(5000),
  Array.from({ length: 300 }, (_, i) => i % 40),
];

/** What is sent. */
export interface HostileRequest {
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** Whether the body comes in chunks, without its length. */
  readonly chunked: boolean;
  /** Whether whoever asks goes away while the answer comes. */
  readonly leaves: boolean;
}

/** The request of a seed. */
export function hostileRequest(seed: number): HostileRequest {
  const random = new Random(seed);
  const below = (bound: number): number => Math.floor(random.uniform() * bound);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)];
  const chance = (share: number): boolean => random.uniform() < share;
  const path = chance(0.8) ? pick(Object.keys(bodies)) : pick(paths);
  const method = chance(0.9)
    ? path in bodies
      ? 'POST'
      : 'GET'
    : pick(['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);
  const good = bodies[path] ?? pick(Object.values(bodies));
  const fields = Object.entries(good).filter(() => chance(0.75));
  const mutated = fields.map(([name, value]) => {
    if (chance(0.7)) return [name, value] as const;
    return [
      chance(0.9) ? name : pick(['__proto__', 'toString', '', 'n', 'prompt']),
      chance(0.7) ? pick(values) : changed(value),
    ] as const;
  });
  /** A value with a part of it changed. */
  function changed(value: unknown): unknown {
    if (isList(value))
      return chance(0.3) ? [...value, ...value] : value.map((part: unknown) => (chance(0.5) ? changed(part) : part));
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(
        Object.entries(value).map(([key, part]: [string, unknown]) => [key, chance(0.4) ? changed(part) : part]),
      );
    }
    if (typeof value === 'number' && chance(0.5)) return value * pick([-1, 0, 2, 1.5, 1e9]);
    return pick(values);
  }
  let text = JSON.stringify(Object.fromEntries(mutated));
  if (chance(0.08)) text = bytesChanged(text, below, pick);
  const takesBody = method !== 'GET' && method !== 'OPTIONS';
  const type = chance(0.97)
    ? 'application/json'
    : pick(['text/plain', 'application/octet-stream', 'application/json; charset=x', '']);
  return {
    path,
    method,
    headers: {
      host: chance(0.99) ? 'localhost' : 'example.org',
      'content-type': type,
      ...(chance(0.05) && { 'x-request-id': 'a b' }),
    },
    body: takesBody ? text : undefined,
    leaves: chance(0.05),
    ...(chance(0.1) && takesBody && { body: undefined }),
    chunked: chance(0.2),
  };
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function bytesChanged(text: string, below: (bound: number) => number, pick: <T>(list: readonly T[]) => T): string {
  const at = below(text.length + 1);
  const pieces = ['NaN', '1e309', '-', '"', '{', ']', '\\u', '\u0000', ',', text];
  return pick([
    text.slice(0, at),
    text.slice(0, at) + pick(pieces) + text.slice(at),
    text.slice(0, at) + text.slice(at + 1),
  ]);
}

/** Statuses that say that the server is at fault, and that it means so: not here, or too much to do. */
export const meantFaults: ReadonlySet<number> = new Set([501, 503]);

/** What a request came to. */
export interface HostileResult {
  readonly status: number;
  readonly text: string;
}

/** Asks over a socket, and reads the answer, or goes away. */
export async function sendHostile(
  url: string,
  { path, method, headers, body, chunked, leaves }: HostileRequest,
  agent?: Agent,
): Promise<HostileResult> {
  const length = body === undefined || chunked ? {} : { 'content-length': Buffer.byteLength(body) };
  const asked = request(url, { path, method, agent, headers: { ...headers, ...length } });
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.on('response', resolve);
    asked.on('error', reject);
    if (chunked && body !== undefined) asked.write(body.slice(0, 10));
    asked.end(chunked ? body?.slice(10) : body);
  });
  const status = answer.statusCode ?? 0;
  if (leaves) {
    answer.on('error', () => undefined);
    answer.destroy();
    return { status, text: '' };
  }
  const pieces: Buffer[] = [];
  for await (const piece of answer) if (piece instanceof Buffer) pieces.push(piece);
  return { status, text: Buffer.concat(pieces).toString() };
}

/** The bytes of a request: its body whole or in chunks, or none. */
function written({ path, method, headers, body, chunked }: HostileRequest, isLast: boolean): string {
  const lines = Object.entries({ ...headers, ...(isLast && { connection: 'close' }) });
  if (body !== undefined) lines.push(chunked ? ['transfer-encoding', 'chunked'] : ['content-length', lengthOf(body)]);
  const head = `${method} ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`;
  if (body === undefined || !chunked) return head + (body ?? '');
  const chunks = [body.slice(0, 7), body.slice(7)].filter((part) => part !== '');
  return `${head}${chunks.map((part) => `${Buffer.byteLength(part).toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`;
}

function lengthOf(body: string): string {
  return String(Buffer.byteLength(body));
}

/** Writes requests to one connection at once; what comes back until it closes. */
export function sendPipelined(url: string, requests: readonly HostileRequest[]): Promise<string> {
  const text = requests.map((request, at) => written(request, at === requests.length - 1)).join('');
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      resolve(Buffer.concat(pieces).toString());
    });
    socket.setTimeout(30_000, () => {
      reject(new Error(`no answer to ${text.slice(0, 2000)}`));
      socket.destroy();
    });
  });
}

/** The statuses of answers that came on one connection. */
export function statusesOf(answers: string): number[] {
  return [...answers.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
}
