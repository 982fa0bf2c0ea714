/** Conversations as files: all turns and branches, as JSON. What is opened may be anything. */
import type { ConversationTree, Turn } from './conversation.ts';
import { showTurn } from './conversation.ts';

const format = 'linnet-conversation';

/** What a file holds besides the turns. */
interface SavedConversation {
  readonly conversation: ConversationTree;
  readonly system: string;
}

export function writeConversation({ conversation, system }: SavedConversation): string {
  const { turns, leaf } = conversation;
  const kept = turns.map(({ parent, author, text, finish }) => ({ parent, author, text, finish }));
  return JSON.stringify({ format, version: 1, system, leaf, turns: kept }, undefined, 1);
}

/** @throws Error that says what is wrong with the file */
export function readConversation(text: string): SavedConversation {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error('The file is not JSON.');
  }
  if (!isRecord(file) || file.format !== format || file.version !== 1 || !Array.isArray(file.turns)) {
    throw new Error('The file holds no conversation of this page.');
  }
  const turns = file.turns.map((turn: unknown, id) => readTurn(turn, id));
  const leaf = file.leaf;
  const conversation = { turns, leaf: undefined, visited: {} };
  return {
    system: typeof file.system === 'string' ? file.system : '',
    conversation: typeof leaf === 'number' && Object.hasOwn(turns, leaf) ? showTurn(conversation, leaf) : conversation,
  };
}

function readTurn(turn: unknown, id: number): Turn {
  if (isRecord(turn)) {
    const { parent, author, text } = turn;
    const placed = parent === undefined || (Number.isInteger(parent) && Number(parent) >= 0 && Number(parent) < id);
    if (placed && (author === 'user' || author === 'model') && typeof text === 'string') {
      return { id, parent: parent === undefined ? undefined : Number(parent), author, text };
    }
  }
  throw new Error(`Turn ${id + 1} of the file is damaged.`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
