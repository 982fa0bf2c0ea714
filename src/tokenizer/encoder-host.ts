/** The program of the thread that encodes long texts, with the tokenizers of folders. It acts when it is loaded. */
import { answerRequests } from '../runtime/worker-thread.ts';
import type { EncodingTask } from './encoding-thread.ts';
import { loadSameTokenizer, type Tokenizer } from './tokenizer.ts';

const tokenizers = new Map<string, Promise<Tokenizer>>();

answerRequests(async ({ folder, digest, text, follows }: EncodingTask, handover): Promise<Int32Array | undefined> => {
  const loading = tokenizers.get(digest) ?? loadSameTokenizer(folder, digest);
  tokenizers.set(digest, loading);
  // Its files may have changed: the thread that asks has it in memory.
  const tokenizer = await loading.catch(() => undefined);
  if (tokenizer === undefined) {
    tokenizers.delete(digest);
    return undefined;
  }
  const ids = tokenizer.encode(text, { follows });
  if (ids.buffer instanceof ArrayBuffer) handover.add(ids.buffer);
  return ids;
});
