/** Messages between a program and the worker that runs it: plain data, numbers as bytes. */
import { type DType, elementCount, tensor, type Tensor, tensorBytes, tensorFromBytes } from '../graph/tensor.ts';
import type { KeptCopies, KeptFeeds, KeptSender, KeptUpdate } from './kept-memory.ts';
import type { EngineModel, EngineSettings, NamedTensors } from './session-types.ts';
import type { Handover } from './worker-thread.ts';

/** A tensor in a message. */
export interface TensorMessage {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export type TensorMessages = Readonly<Record<string, TensorMessage>>;

/** A tensor that is the beginning of memory which the receiver keeps. */
export interface KeptTensorMessage {
  readonly shape: readonly number[];
  readonly update: KeptUpdate;
}

export type KeptTensorMessages = Readonly<Record<string, KeptTensorMessage>>;

/** Feeds of a run: sent whole, or as updates of kept memory. */
export interface FeedMessages {
  readonly sent: TensorMessages;
  readonly kept: KeptTensorMessages;
}

/** A request to a worker. */
export type WorkerTask =
  | { readonly kind: 'open'; readonly model: EngineModel; readonly settings: EngineSettings }
  | { readonly kind: 'run'; readonly feeds: FeedMessages; readonly fetch: readonly string[] }
  | { readonly kind: 'endProfiling' }
  | { readonly kind: 'dispose' };

/** Of a run: outputs, and the memory that its feeds came in, which is given back. */
export interface WorkerResult {
  readonly tensors: TensorMessages;
  readonly spent: readonly ArrayBuffer[];
}

/** Tensors that the receiver may keep: their memory is handed over where a tensor has a buffer of its own. */
export function handOverTensors(tensors: NamedTensors, handover: Handover): TensorMessages {
  return mapValues(tensors, ({ dtype, shape, data }) => {
    const whole = data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength;
    return { dtype, shape, bytes: handOver(whole ? tensorBytes({ dtype, shape, data }) : copyBytes(data), handover) };
  });
}

/**
 * Tensors that the sender keeps: copied once, without the rest of the buffers that they are views of.
 * @param spare memory that may be written over, taken from the list: new memory for every step costs more than the copy
 */
export function copyTensors(tensors: NamedTensors, handover: Handover, spare: ArrayBuffer[] = []): TensorMessages {
  return mapValues(tensors, ({ dtype, shape, data }) => {
    const index = spare.findIndex(({ byteLength }) => byteLength === data.byteLength);
    const bytes = index < 0 ? copyBytes(data) : new Uint8Array(spare.splice(index, 1)[0]);
    if (index >= 0) bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return { dtype, shape, bytes: handOver(bytes, handover) };
  });
}

/** Feeds for a worker: of memory that it keeps, only the missing writes. @param spare as of `copyTensors` */
export function copyFeeds(
  feeds: NamedTensors,
  handover: Handover,
  spare: ArrayBuffer[],
  sender: KeptSender,
  memories: KeptFeeds = new Map(),
): FeedMessages {
  const kept: Record<string, KeptTensorMessage> = {};
  const others: Record<string, Tensor> = {};
  for (const [name, feed] of Object.entries(feeds)) {
    const memory = memories.get(name);
    if (memory === undefined) {
      others[name] = feed;
      continue;
    }
    const update = sender.update(memory);
    for (const { buffer } of [update.pieces, update.numbers]) {
      if (buffer instanceof ArrayBuffer) handover.add(buffer);
    }
    kept[name] = { shape: feed.shape, update };
  }
  return { sent: copyTensors(others, handover, spare), kept };
}

/** The feeds of a message, over its own memory and the memory of the copies. */
export function receivedFeeds({ sent, kept }: FeedMessages, copies: KeptCopies): Record<string, Tensor> {
  const others = mapValues(kept, ({ shape, update }) =>
    tensor('float32', shape, copies.take(update).subarray(0, elementCount(shape))),
  );
  return { ...receivedTensors(sent), ...others };
}

/** The memory of tensors that came in a message. */
export function memoryOf(messages: TensorMessages): ArrayBuffer[] {
  const buffers = Object.values(messages).flatMap(({ bytes: { buffer } }) =>
    buffer instanceof ArrayBuffer ? buffer : [],
  );
  return [...new Set(buffers)];
}

/** A model for a worker: its weights are copied, unless their memory can be shared. */
export function copyModel(model: EngineModel, handover: Handover): EngineModel {
  if ('file' in model) return model;
  return {
    ...model,
    external: model.external.map(({ path, offset, data }) => ({
      path,
      offset,
      data: data.buffer instanceof ArrayBuffer ? handOver(copyBytes(data), handover) : data,
    })),
  };
}

/** The tensors of a message, over its memory. */
export function receivedTensors(messages: TensorMessages): Record<string, Tensor> {
  return mapValues(messages, ({ dtype, shape, bytes }) => tensorFromBytes(dtype, shape, bytes));
}

function handOver(bytes: Uint8Array, handover: Handover): Uint8Array {
  if (bytes.buffer instanceof ArrayBuffer) handover.add(bytes.buffer);
  return bytes;
}

function copyBytes(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
}

function mapValues<A, B>(record: Readonly<Record<string, A>>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, map(value)]));
}
