/** The worker thread that encodes long texts with folders' tokenizers. Starts when loaded. */
import { answerRequests } from '../runtime/worker-thread.ts';
import type { EncodingTask } from './encoding-thread.ts';
import { loadSameTokenizer, type Tokenizer } from './tokenizer.ts';

const tokenizers = new Map<string, Promise<Tokenizer>>();

answerRequests(async ({ folder, digest, text, follows }: EncodingTask, handover): Promise<Int32Array | undefined> => {
  const loading = tokenizers.get(digest) ?? loadSameTokenizer(folder, digest);
  tokenizers.set(digest, loading);
  // If its files have changed, the asking thread still has the tokenizer in memory.
  const tokenizer = await loading.catch(() => undefined);
  if (tokenizer === undefined) {
    tokenizers.delete(digest);
    return undefined;
  }
  const ids = tokenizer.encode(text, { follows });
  if (ids.buffer instanceof ArrayBuffer) handover.add(ids.buffer);
  return ids;
});
