/** Routes of slots: which texts are at work, and slots as files. */
import { z } from 'zod';
import { decodeSession, encodeSession } from '../../decoding/state/session-file.ts';
import type { SavedSession } from '../../decoding/state/session-format.ts';
import { LinnetError } from '../../errors.ts';
import { checkPlainFileName } from '../../files/name-list.ts';
import { nameOf } from '../sessions/state-store.ts';
import { ApiError } from './api-error.ts';
import type { Serving } from './request-context.ts';
import { type ApiRequest, post, type Route, route } from './route.ts';
import { maybe, refuse } from './request-fields.ts';

function listSlots({ slots, runner, limits }: Serving, { query }: ApiRequest): Response {
  const { active } = runner;
  if ('fail_on_no_slot' in query && active >= slots.count) {
    throw new ApiError('unavailable_error', 'no slot is free', { retryAfter: 1 });
  }
  const named = Array.from({ length: slots.count }, (_, id) => slots.isBusy(id));
  // Texts of other endpoints are in the slots that are left.
  let others = Math.max(0, active - named.filter(Boolean).length);
  return Response.json(
    named.map((busy, id) => ({
      id,
      n_ctx: limits.promptTokens,
      speculative: false,
      is_processing: busy || others-- > 0,
    })),
  );
}

interface SlotAction {
  readonly owner: string;
  readonly slot: number;
  readonly target: string | undefined;
  readonly filename: string | undefined;
}

const fileFields = z.object({ filename: maybe(z.string().min(1).max(200)) });

/** Actions by name, each with its answer but for the time it took. */
const actions: Readonly<Record<string, (serving: Serving, action: SlotAction) => object | Promise<object>>> = {
  async save({ slots, model }, { owner, slot, filename = '' }) {
    const { files, name } = slotFile(slots, owner, filename);
    const content = contentOf(slots, owner, slot);
    const bytes = encodeSession({ ...content, fingerprint: model.fingerprint });
    await files.write(name, bytes);
    return { id_slot: slot, filename, n_saved: content.tokens.length, n_written: bytes.length };
  },
  async restore({ slots, model }, { owner, slot, filename = '' }) {
    const { files, name } = slotFile(slots, owner, filename);
    const bytes = await files.read(name);
    const content = await decodeSession(bytes, model.engine, model.fingerprint, `slot ${filename}`);
    slots.set(owner, slot, content);
    return { id_slot: slot, filename, n_restored: content.tokens.length, n_read: bytes.length };
  },
  erase({ slots }, { owner, slot }) {
    const erased = slots.get(owner, slot)?.tokens.length ?? 0;
    slots.set(owner, slot, undefined);
    return { id_slot: slot, n_erased: erased };
  },
  clone_to({ slots }, { owner, slot, target = '' }) {
    const to = slotOf(slots, target, 'target');
    const content = contentOf(slots, owner, slot);
    if (to !== slot) slots.set(owner, to, { ...content, state: content.state.fork() });
    return { id_slot: slot, id_slot_target: to, n_cloned: content.tokens.length };
  },
};

async function actOnSlot(
  serving: Serving,
  { key: owner, params, query }: ApiRequest,
  { filename }: z.output<typeof fileFields>,
): Promise<Response> {
  const { action = '', target }: { action?: string; target?: string } = query;
  const slot = slotOf(serving.slots, params.id, 'id_slot');
  if (!Object.hasOwn(actions, action)) {
    refuse('expected ?action=save, restore, erase or clone_to');
  }
  const started = performance.now();
  try {
    const answer = await actions[action](serving, { owner, slot, target, filename });
    const time = `${action.replace('_to', '')}_ms`;
    return Response.json({ ...answer, timings: { [time]: performance.now() - started } });
  } catch (error) {
    if (!(error instanceof LinnetError) || !['PATH', 'NOT_FOUND'].includes(error.code)) throw error;
    return refuse('there is no such file of a slot here', 'filename');
  }
}

/** @throws ApiError for anything but the number of a slot */
function slotOf({ count }: Serving['slots'], id: string, param: string): number {
  const slot = /^\d{1,4}$/.test(id) ? Number(id) : -1;
  if (slot >= 0 && slot < count) return slot;
  return refuse(`there are slots 0 to ${count - 1}`, param);
}

function contentOf(slots: Serving['slots'], owner: string, id: number): SavedSession {
  const content = slots.get(owner, id);
  return content ?? refuse(`slot ${id} is empty; send a prompt with "id_slot": ${id}`);
}

/** @throws ApiError where slots cannot be saved; LinnetError `PATH` for a name that is a path */
function slotFile({ files }: Serving['slots'], owner: string, filename: string) {
  if (files === undefined) {
    throw new ApiError(
      'not_supported_error',
      'slots are saved by a server that was started with --set slotSavePath, or with --sessions redis://…',
    );
  }
  if (filename === '') refuse('give the "filename" of the slot', 'filename');
  return { files, name: nameOf({ owner, id: checkPlainFileName(filename, 'filename') }) };
}

export const slotRoutes: readonly Route<Serving>[] = [
  route('get', '/slots', 'Which texts are at work; ?fail_on_no_slot=1 answers 503 where none is free', listSlots),
  post(
    '/slots/{id}',
    'Saves, restores, erases or copies a slot: ?action=save|restore|erase|clone_to, with &target= for a copy',
    () => fileFields,
    actOnSlot,
    { optional: true },
  ),
];
