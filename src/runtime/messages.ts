/** Messages between a program and the worker that runs it: plain data. */
import { elementCount, tensor, type Tensor, tensorBytes, tensorFromBytes } from '../graph/tensor.ts';
import type { KeptCopies, KeptFeeds, KeptSender, KeptUpdate } from './kept-memory.ts';
import type { EngineModel, EngineSettings, NamedTensors } from './session-types.ts';
import type { Handover } from './worker-thread.ts';

/** A tensor that is the beginning of memory that the receiver keeps. */
interface KeptTensor {
  readonly shape: readonly number[];
  readonly update: KeptUpdate;
}

/** A run's feeds: sent whole, or as updates of kept memory. */
export interface FeedMessages {
  readonly sent: NamedTensors;
  readonly kept: Readonly<Record<string, KeptTensor>>;
}

/** A request to a worker. */
export type WorkerTask =
  | { readonly kind: 'open'; readonly model: EngineModel; readonly settings: EngineSettings }
  | { readonly kind: 'run'; readonly feeds: FeedMessages; readonly fetch: readonly string[] }
  | { readonly kind: 'endProfiling' }
  | { readonly kind: 'dispose' };

/** A run's outputs, and its feeds' memory, handed back. */
export interface WorkerResult {
  readonly tensors: Record<string, Tensor>;
  readonly spent: readonly ArrayBuffer[];
}

/** Tensors that the receiver may keep: transfers the memory of those with their own buffer. */
export function handOverTensors(tensors: NamedTensors, handover: Handover): Record<string, Tensor> {
  return mapValues(tensors, (given) => {
    const { dtype, shape, data } = given;
    const isWhole = data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength;
    const own = isWhole ? given : tensorFromBytes(dtype, shape, tensorBytes(given).slice());
    handOver(own.data.buffer, handover);
    return own;
  });
}

/**
 * Copies tensors that the sender keeps, without the rest of the buffers they are views of.
 * @param spare memory to overwrite, taken from the list: new memory for every step costs more than the copy
 */
export function copyTensors(tensors: NamedTensors, handover: Handover, spare: ArrayBuffer[] = []): NamedTensors {
  return mapValues(tensors, (given) => {
    const bytes = tensorBytes(given);
    const index = spare.findIndex(({ byteLength }) => byteLength === bytes.byteLength);
    const copy = index < 0 ? bytes.slice() : new Uint8Array(spare.splice(index, 1)[0]);
    if (index >= 0) copy.set(bytes);
    handOver(copy.buffer, handover);
    return tensorFromBytes(given.dtype, given.shape, copy);
  });
}

/** Feeds for a worker: for memory it keeps, only the missing writes. @param spare see `copyTensors` */
export function copyFeeds(
  feeds: NamedTensors,
  handover: Handover,
  spare: ArrayBuffer[],
  sender: KeptSender,
  memories: KeptFeeds = new Map(),
): FeedMessages {
  const kept: Record<string, KeptTensor> = {};
  const others: Record<string, Tensor> = {};
  for (const [name, feed] of Object.entries(feeds)) {
    const memory = memories.get(name);
    if (memory === undefined) {
      others[name] = feed;
      continue;
    }
    const update = sender.update(memory);
    for (const { buffer } of [update.pieces, update.numbers]) handOver(buffer, handover);
    kept[name] = { shape: feed.shape, update };
  }
  return { sent: copyTensors(others, handover, spare), kept };
}

/** A message's feeds, over its own memory and the copies' memory. */
export function receivedFeeds({ sent, kept }: FeedMessages, copies: KeptCopies): Record<string, Tensor> {
  const others = mapValues(kept, ({ shape, update }) =>
    tensor('float32', shape, copies.take(update).subarray(0, elementCount(shape))),
  );
  return { ...sent, ...others };
}

/** The memory of tensors from a message. */
export function memoryOf(tensors: NamedTensors): ArrayBuffer[] {
  const buffers = Object.values(tensors).flatMap(({ data: { buffer } }) =>
    buffer instanceof ArrayBuffer ? buffer : [],
  );
  return [...new Set(buffers)];
}

/** A model for a worker: copies its weights, unless their memory can be shared. */
export function copyModel(model: EngineModel, handover: Handover): EngineModel {
  if ('file' in model) return model;
  return {
    ...model,
    external: model.external.map((part) => {
      const data = part.data.buffer instanceof ArrayBuffer ? part.data.slice() : part.data;
      handOver(data.buffer, handover);
      return { ...part, data };
    }),
  };
}

function handOver(buffer: ArrayBufferLike, handover: Handover): void {
  if (buffer instanceof ArrayBuffer) handover.add(buffer);
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}
