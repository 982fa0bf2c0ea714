/** Limits of a server. A limit on the prompt is policy: with a constant-size state no memory depends on it. */
export const defaultLimits = {
  bodyBytes: 2 << 20,
  /** Maximum bytes of an imported session. */
  sessionBytes: 512 << 20,
  /** Seconds that a session may ask to be kept. */
  sessionSeconds: 100_000_000,
  promptTokens: 1_000_000,
  /** Tokens of a text that an encoder or a classifier reads whole: its memory grows with their square. */
  textTokens: 4096,
  /** Tokens of a continuation. */
  maxTokens: 1_000_000,
  /** Tokens of an answer to messages whose request says nothing about that. */
  answerTokens: 1024,
  /** Continuations of a prompt. */
  n: 16,
  prompts: 256,
  /** Texts of a request for embeddings, as in OpenAI's API, and numbers of all its vectors, which the answer writes out. */
  embeddings: 2048,
  embeddingNumbers: 1 << 21,
  stops: 16,
  /** Characters of a stop string. */
  stopLength: 128,
  /** Maximum number of reported top tokens. */
  logprobs: 20,
  messages: 4096,
  /** Seconds that a request may take. */
  timeout: 600,
};

export type ServerLimits = Readonly<typeof defaultLimits>;
