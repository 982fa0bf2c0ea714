/** Conversations as JSON files with all turns and branches. Opened files are untrusted. */
import { type Call, type ConversationTree, type Turn, isFinish, showTurn } from './conversation.ts';

const format = 'linnet-conversation';
/** More than anyone writes; drawing and searching a tree take quadratic time. */
const mostTurns = 10_000;

/** A file's fields besides the turns. */
interface SavedConversation {
  readonly conversation: ConversationTree;
  readonly system: string;
}

export function writeConversation({ conversation, system }: SavedConversation): string {
  const { turns, leaf } = conversation;
  const kept = turns.map(({ key, parent, author, text, thoughts, finish, calls, results }) => {
    return { key, parent, author, text, thoughts, finish, calls, results };
  });
  return JSON.stringify({ format, version: 1, system, leaf, turns: kept }, undefined, 1);
}

/** @throws Error naming the file's problem */
export function readConversation(text: string): SavedConversation {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error('The file is not JSON.');
  }
  if (!isRecord(file) || file.format !== format || file.version !== 1 || !Array.isArray(file.turns)) {
    throw new Error('The file is not a conversation saved by this page.');
  }
  if (file.turns.length > mostTurns) throw new Error(`The file has more than ${mostTurns} turns.`);
  const turns: Turn[] = [];
  const keys = new Set<string>();
  for (const [id, value] of file.turns.entries()) {
    const turn = readTurn(value, id, turns);
    // Merging goes by key: a repeated one could make turns follow each other in a circle.
    if (keys.has(turn.key)) throw new Error(`Turn ${id + 1} of the file appears twice.`);
    keys.add(turn.key);
    turns.push(turn);
  }
  const leaf = file.leaf;
  const conversation = { turns, leaf: undefined, visited: {} };
  return {
    system: typeof file.system === 'string' ? file.system : '',
    // A fork may end at a turn that others follow.
    conversation:
      typeof leaf === 'number' && Object.hasOwn(turns, leaf) ? { ...showTurn(conversation, leaf), leaf } : conversation,
  };
}

function readTurn(turn: unknown, id: number, before: readonly Turn[]): Turn {
  if (isRecord(turn)) {
    const { parent, author, text, thoughts, finish, calls, results } = turn;
    // Earlier versions wrote no keys.
    const key = isText(turn.key) ? turn.key : String(id);
    if (isPlace(parent, id) && isText(text)) {
      if (author === 'user') return { id, key, parent, author, text };
      if (author === 'model') {
        // A cut answer may end inside its last call.
        const whole = finish === 'calls' && Array.isArray(calls) ? calls.filter(isCall) : [];
        const made = whole.map(({ id, name, json }) => ({ id, name, json }));
        const ended = isFinish(finish) && (finish !== 'calls' || made.length > 0);
        return {
          ...{ id, key, parent, author, text },
          ...(isText(thoughts) && { thoughts }),
          ...(ended && { finish }),
          ...(made.length > 0 && { calls: made }),
        };
      }
      const asked = parent === undefined ? undefined : before[parent].calls;
      if (author === 'tool' && Array.isArray(results) && results.length === asked?.length && results.every(isText)) {
        return { id, key, parent, author, text, results };
      }
    }
  }
  throw new Error(`Turn ${id + 1} of the file is damaged.`);
}

/** Whether `value` is undefined or the id of a turn before `id`. */
function isPlace(value: unknown, id: number): value is number | undefined {
  return value === undefined || (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < id);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isCall(value: unknown): value is Call {
  return isRecord(value) && isText(value.id) && isText(value.name) && isText(value.json);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
