/** Streamed answers: server-sent events of chats and completions, with the fields that Linnet adds. */
import { EventSourceParserStream } from 'eventsource-parser/stream';
import type { Call } from './conversation.ts';

/** A drafted tree with the path that the model accepted. */
export interface DraftedTree {
  readonly tokens: readonly string[];
  readonly parents: readonly number[];
  readonly accepted: readonly number[];
  readonly next: string;
}

/** Part of a function call; parts with the same index form one call. */
export interface CallPiece {
  readonly index: number;
  /** In the first piece only. */
  readonly id?: string;
  readonly name?: string;
  readonly json: string;
}

/** One chunk's content; any field may be absent. */
export interface AnswerPiece {
  readonly text: string;
  readonly thoughts: string;
  readonly finish?: 'stop' | 'length' | 'calls';
  readonly calls: readonly CallPiece[];
  readonly trees: readonly DraftedTree[];
  /** Tokens in the state. */
  readonly position?: number;
  readonly stateBytes?: number;
  /** Prompt tokens that the state already held. */
  readonly cached?: number;
  /** In the last piece only. */
  readonly tokensPerSecond?: number;
  readonly written?: number;
  readonly rounds?: number;
}

const connectionLost =
  'The connection to the server ended before the answer did. Check that the server still runs, then try again.';

/**
 * Pieces of a response.
 * @param signal stops reading at once, whatever the connection does
 * @throws Error with the server's message if the stream reports one, or ends early
 */
export async function* readAnswer(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  signal?: AbortSignal,
): AsyncGenerator<AnswerPiece, void, undefined> {
  const events = body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const reader = events.getReader();
  // Tells the server to stop. Not awaited: the connection may be slow.
  const cancel = (): void => void reader.cancel().catch(() => undefined);
  signal?.addEventListener('abort', cancel);
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw signal?.aborted === true ? error : new Error(connectionLost, { cause: error });
      });
      if (done) throw new Error(connectionLost);
      if (value.data === '[DONE]') return;
      yield pieceOf(JSON.parse(value.data));
    }
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
}

/** @throws Error with the chunk's message if it reports an error */
export function pieceOf(chunk: unknown): AnswerPiece {
  const { error, choices, linnet } = recordOf(chunk);
  if (error !== undefined) throw new Error(messageOf(error));
  const [choice] = arrayOf(choices).map(recordOf);
  const delta = recordOf(choice?.delta);
  const content = delta.content ?? choice?.text;
  const finish = choice?.finish_reason;
  const told = recordOf(linnet);
  return {
    text: typeof content === 'string' ? content : '',
    thoughts: typeof delta.reasoning_content === 'string' ? delta.reasoning_content : '',
    finish: finish === 'tool_calls' ? 'calls' : finish === 'stop' || finish === 'length' ? finish : undefined,
    calls: arrayOf(delta.tool_calls).map(callPieceOf),
    trees: arrayOf(told.trees).map(treeOf),
    position: numberOf(told.position),
    stateBytes: numberOf(told.state_bytes),
    cached: numberOf(told.cached),
    tokensPerSecond: numberOf(told.tokens_per_second),
    written: numberOf(told.written),
    rounds: numberOf(told.rounds),
  };
}

function callPieceOf(piece: unknown): CallPiece {
  const { index, id, function: called } = recordOf(piece);
  const { name, arguments: json } = recordOf(called);
  return {
    index: numberOf(index) ?? 0,
    ...(typeof id === 'string' && { id }),
    ...(typeof name === 'string' && { name }),
    json: typeof json === 'string' ? json : '',
  };
}

/** Adds a piece to the calls. */
export function addCallPiece(calls: readonly Call[], { index, id, name, json }: CallPiece): readonly Call[] {
  const call = calls[index] ?? { id: id ?? String(index), name: name ?? '', json: '' };
  return [...calls.slice(0, index), { ...call, json: call.json + json }, ...calls.slice(index + 1)];
}

function treeOf(tree: unknown): DraftedTree {
  const { tokens, parents, accepted, next } = recordOf(tree);
  const texts = arrayOf(tokens).map(String);
  const isNode = (value: unknown): value is number => typeof value === 'number' && Object.hasOwn(texts, value);
  return {
    tokens: texts,
    parents: texts.map((_, node) => {
      const parent = arrayOf(parents)[node];
      return isNode(parent) ? parent : -1;
    }),
    accepted: arrayOf(accepted).filter(isNode),
    next: typeof next === 'string' ? next : '',
  };
}

/** The message of an API error. */
export function messageOf(error: unknown): string {
  const { message } = recordOf(error);
  return typeof message === 'string' ? message : 'The server reported an error.';
}

export function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {};
}

function arrayOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}
