/** Answers of /v1/responses that later requests go on from: messages, state, and the body of the answer. */
import { z } from 'zod';
import type { SavedSession } from '../../decoding/state/session-file.ts';
import { LinnetError } from '../../errors.ts';
import type { ChatMessage } from '../../tokenizer/chat-template.ts';
import type { StateName, StateStore } from './state-store.ts';

/** One answer and all that led to it. */
export interface StoredResponse {
  /** The conversation, with the answer, without instructions. */
  readonly messages: readonly ChatMessage[];
  /** Text and state at its end. */
  readonly session: SavedSession;
  /** The body of the answer. */
  readonly body: object;
}

const noteSchema = z.strictObject({
  messages: z.array(z.object({ role: z.string(), content: z.string(), name: z.string().optional() })),
  body: z.looseObject({}),
});

/** Keeps an answer, which is not to change. */
export async function keepResponse(
  store: StateStore,
  name: StateName,
  { session, ...said }: StoredResponse,
): Promise<void> {
  await store.save(name, { ...session, note: JSON.stringify(said) }, { expected: 0 });
}

/** @throws LinnetError `FORMAT` or `MISMATCH` for one that is damaged or of another model */
export async function findResponse(store: StateStore, name: StateName): Promise<StoredResponse | undefined> {
  const session = (await store.load(name))?.session;
  if (session?.note === undefined) return undefined;
  try {
    return { session, ...noteSchema.parse(JSON.parse(session.note)) };
  } catch (cause) {
    throw new LinnetError('FORMAT', `response ${name.id} is damaged in its store`, { cause });
  }
}
