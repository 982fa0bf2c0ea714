/**
 * A conversation with branches: a tree of turns, one path shown. Asking again or changing a question
 * makes a branch; nothing is lost. Values are immutable.
 */

/** Who wrote a turn; `tool`: results of the previous turn's calls. */
export type Author = 'user' | 'model' | 'tool';

export const authorNames: Readonly<Record<Author, string>> = { user: 'You', model: 'Model', tool: 'Results' };

/** A function call, as far as written. */
export interface Call {
  readonly id: string;
  readonly name: string;
  /** Arguments as JSON. */
  readonly json: string;
}

/** How texts end: `calls` wait for results, `stopped` by the reader, `left` with the page, `failed` midway. */
export const finishes = {
  stop: 'ended',
  calls: 'calls',
  length: 'cut at the maximum length',
  stopped: 'stopped',
  left: 'cut off',
  failed: 'failed',
} as const;
export type Finish = keyof typeof finishes;

export function isFinish(value: unknown): value is Finish {
  return typeof value === 'string' && Object.hasOwn(finishes, value);
}

/** Facts about a turn. */
export interface TurnFacts {
  readonly finish?: Finish;
  readonly tokensPerSecond?: number;
  /** Tokens written, and the model's rounds for them. */
  readonly tokens?: number;
  readonly rounds?: number;
  /** What went wrong. */
  readonly problem?: string;
  /** The model's reasoning before its answer. */
  readonly thoughts?: string;
  readonly calls?: readonly Call[];
}

export interface Turn extends TurnFacts {
  /** Index in `turns`. */
  readonly id: number;
  /** The same in every tab and file. */
  readonly key: string;
  /** The previous turn; undefined for a first one. */
  readonly parent: number | undefined;
  readonly author: Author;
  readonly text: string;
  /** Turns of results: one result for each call of the previous turn. */
  readonly results?: readonly string[];
}

export interface ConversationTree {
  /** Parents before children. */
  readonly turns: readonly Turn[];
  /** The last turn of the shown path; undefined if there is none. */
  readonly leaf: number | undefined;
  /** The child shown last, by turn; -1 is the root before all turns. */
  readonly visited: Readonly<Record<number, number>>;
}

/** A key for a new conversation or turn. Not `randomUUID`: pages have it only on HTTPS and localhost. */
export function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join('');
}

export const emptyConversation: ConversationTree = { turns: [], leaf: undefined, visited: {} };

/** Adds a turn after `parent` and shows it. @param parent undefined for a first turn */
export function addTurn(
  conversation: ConversationTree,
  parent: number | undefined,
  turn: Pick<Turn, 'author' | 'text' | 'results'>,
): ConversationTree {
  const id = conversation.turns.length;
  const turns = [...conversation.turns, { ...turn, id, key: newKey(), parent }];
  return showTurn({ ...conversation, turns }, id);
}

export function changeTurn(
  conversation: ConversationTree,
  id: number,
  change: TurnFacts & { readonly text?: string },
): ConversationTree {
  const turns = conversation.turns.map((turn) => (turn.id === id ? { ...turn, ...change } : turn));
  return { ...conversation, turns };
}

/** Shows the path through a turn; after it, the branch shown last. */
export function showTurn(conversation: ConversationTree, id: number): ConversationTree {
  const visited: Record<number, number> = { ...conversation.visited };
  for (const turn of pathTo(conversation, id)) visited[turn.parent ?? -1] = turn.id;
  let leaf = id;
  for (;;) {
    const children = childrenOf(conversation, leaf);
    if (children.length === 0) break;
    const last = children.find((child) => child.id === visited[leaf]) ?? children[children.length - 1];
    leaf = last.id;
  }
  return { ...conversation, visited, leaf };
}

/** Turns from the first to `id`. */
export function pathTo({ turns }: ConversationTree, id: number | undefined): Turn[] {
  const path: Turn[] = [];
  for (let at = id; at !== undefined; at = turns[at].parent) path.push(turns[at]);
  return path.reverse();
}

export function shownPath(conversation: ConversationTree): Turn[] {
  return pathTo(conversation, conversation.leaf);
}

/** A turn and its alternatives, oldest first. */
export function siblingsOf({ turns }: ConversationTree, id: number): Turn[] {
  const { parent } = turns[id];
  return turns.filter((turn) => turn.parent === parent);
}

function childrenOf({ turns }: ConversationTree, id: number): Turn[] {
  return turns.filter(({ parent }) => parent === id);
}

/** Adds another tab's new turns and more complete answers. @returns `ours` itself if nothing is new */
export function mergeConversations(ours: ConversationTree, theirs: ConversationTree): ConversationTree {
  const turns = [...ours.turns];
  const places = new Map(turns.map(({ key }, place) => [key, place]));
  let isNew = false;
  for (const turn of theirs.turns) {
    const id = places.get(turn.key) ?? turns.length;
    if (id < turns.length && !isFurther(turn, turns[id])) continue;
    const parent = turn.parent === undefined ? undefined : places.get(theirs.turns[turn.parent].key);
    turns[id] = { ...turn, id, parent };
    places.set(turn.key, id);
    isNew = true;
  }
  if (!isNew) return ours;
  // New turns after the end of the shown path extend it.
  const { leaf } = ours;
  return leaf === undefined || childrenOf(ours, leaf).length > 0
    ? { ...ours, turns }
    : showTurn({ ...ours, turns }, leaf);
}

/** Whether one copy of a turn is more complete than another. */
function isFurther(one: Turn, other: Turn): boolean {
  if (isWhole(one) || isWhole(other)) return isWhole(one) && !isWhole(other);
  return lengthOf(one) > lengthOf(other);
}

function isWhole({ author, finish }: Turn): boolean {
  return author !== 'model' || (finish !== undefined && finish !== 'left');
}

function lengthOf({ text, thoughts = '' }: Turn): number {
  return text.length + thoughts.length;
}
