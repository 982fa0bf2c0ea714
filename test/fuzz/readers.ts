/** All readers of files and requests, each with whole examples. */
import { dataReaders } from './data-readers.ts';
import { modelReaders } from './model-readers.ts';
import type { FuzzReader } from './reader.ts';
import { stateReaders } from './state-readers.ts';

export interface OpenReaders extends AsyncDisposable {
  readonly readers: readonly FuzzReader[];
}

/** @param folder to write into, empty */
export async function openReaders(folder: string): Promise<OpenReaders> {
  const states = await stateReaders(folder);
  return {
    readers: [...(await modelReaders(folder)), ...(await dataReaders(folder)), ...states.readers],
    [Symbol.asyncDispose]: () => states[Symbol.asyncDispose](),
  };
}
