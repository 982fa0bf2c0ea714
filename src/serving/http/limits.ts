/** Limits of a server. A limit on the prompt is policy: with a constant-size state no memory depends on it. */
export interface ServerLimits {
  /** Bytes of a request's body. */
  readonly bodyBytes: number;
  /** Bytes of a session that is imported. */
  readonly sessionBytes: number;
  /** Seconds that a session may ask to be kept. */
  readonly sessionSeconds: number;
  /** Tokens of a prompt. */
  readonly promptTokens: number;
  /** Tokens of a text that is read whole, by a classifier or an encoder: its memory grows with their square. */
  readonly textTokens: number;
  /** Tokens of a continuation. */
  readonly maxTokens: number;
  /** Tokens of an answer to messages whose request says nothing about that. */
  readonly answerTokens: number;
  /** Continuations of a prompt. */
  readonly n: number;
  /** Prompts in a request. */
  readonly prompts: number;
  readonly stops: number;
  /** Characters of a stop string. */
  readonly stopLength: number;
  /** Most probable tokens that are reported. */
  readonly logprobs: number;
  readonly messages: number;
  /** Seconds that a request may take. */
  readonly timeout: number;
}

export const defaultLimits: ServerLimits = {
  bodyBytes: 2 << 20,
  sessionBytes: 512 << 20,
  sessionSeconds: 100_000_000,
  promptTokens: 1_000_000,
  textTokens: 4096,
  maxTokens: 1_000_000,
  answerTokens: 1024,
  n: 16,
  prompts: 256,
  stops: 16,
  stopLength: 128,
  logprobs: 20,
  messages: 4096,
  timeout: 600,
};

/** Caches a value per limits of a server, made on first use: checking a body takes a twentieth of making its schema. */
export function perLimits<T>(make: (limits: ServerLimits) => T): (limits: ServerLimits) => T {
  const made = new WeakMap<ServerLimits, T>();
  return (limits) => {
    const known = made.get(limits);
    if (known !== undefined) return known;
    const value = make(limits);
    made.set(limits, value);
    return value;
  };
}
