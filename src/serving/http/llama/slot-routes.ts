/** GET /slots and POST /slots/{id}: what texts are at work, and slots as files. */
import { z } from 'zod';
import { LinnetError } from '../../../errors.ts';
import { ApiError } from '../api-error.ts';
import type { ApiRequest, Serving } from '../request-context.ts';
import { checkBody } from '../request-fields.ts';

/** All slots. @param failOnNone answer 503 where none is free, for load balancers */
export function listSlots({ slots, texts, limits }: Serving, failOnNone: boolean): Response {
  const { active } = texts.runner;
  if (failOnNone && active >= slots.count)
    throw new ApiError('unavailable_error', 'no slot is free', { retryAfter: 1 });
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

const action = z.enum(['save', 'restore', 'erase', 'clone_to'], {
  error: 'expected ?action=save, restore, erase or clone_to',
});
const fileFields = z.object({ filename: z.string().min(1).max(200) });

/** One slot. @param given the query's action, and the slot that a clone goes to */
export async function actOnSlot(
  { slots }: Serving,
  { id, action: given, target }: { readonly id: string; readonly action?: string; readonly target?: string },
  { body, key }: ApiRequest,
): Promise<Response> {
  const slot = slotOf(slots, id, 'id_slot');
  const asked = checkBody(action, given);
  if (asked === 'erase') return Response.json({ id_slot: slot, n_erased: slots.erase(key, slot) });
  if (asked === 'clone_to') {
    const to = slotOf(slots, target ?? '', 'target');
    const { tokens, milliseconds } = slots.clone(key, slot, to);
    const timings = { clone_ms: milliseconds };
    return Response.json({ id_slot: slot, id_slot_target: to, n_cloned: tokens, timings });
  }
  if (!slots.saves) {
    throw new ApiError(
      'not_supported_error',
      'slots are saved by a server that was started with --slot-save-path, or with --sessions redis://…',
    );
  }
  const { filename } = checkBody(fileFields, body);
  try {
    const { tokens, bytes, milliseconds } = await slots[asked](key, slot, filename);
    return Response.json(
      asked === 'save'
        ? { id_slot: slot, filename, n_saved: tokens, n_written: bytes, timings: { save_ms: milliseconds } }
        : { id_slot: slot, filename, n_restored: tokens, n_read: bytes, timings: { restore_ms: milliseconds } },
    );
  } catch (error) {
    if (!(error instanceof LinnetError) || !['PATH', 'NOT_FOUND'].includes(error.code)) throw error;
    throw new ApiError('invalid_request_error', 'there is no such file of a slot here', { param: 'filename' });
  }
}

/** @throws ApiError for what is not the number of a slot */
function slotOf({ count }: Serving['slots'], id: string, param: string): number {
  const slot = /^\d{1,4}$/.test(id) ? Number(id) : -1;
  if (slot >= 0 && slot < count) return slot;
  throw new ApiError('invalid_request_error', `there are slots 0 to ${count - 1}`, { param });
}
