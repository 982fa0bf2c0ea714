/** The program of the thread that encodes long texts, with the tokenizers of folders. It acts when it is loaded. */
import { answerRequests } from '../runtime/worker-thread.ts';
import { type EncodingTask, loadSameTokenizer, type Tokenizer } from './tokenizer.ts';

const tokenizers = new Map<string, Promise<Tokenizer>>();

answerRequests(async ({ folder, digest, text, follows }: EncodingTask, handover): Promise<Int32Array> => {
  const loading = tokenizers.get(digest) ?? loadSameTokenizer(folder, digest);
  tokenizers.set(digest, loading);
  const ids = (await loading).encode(text, { follows });
  if (ids.buffer instanceof ArrayBuffer) handover.add(ids.buffer);
  return ids;
});
