/** Long computations in slices, between which the event loop runs, so that a server answers others meanwhile. */
import { eventLoopTurn } from '../../runtime/program.ts';

/** A computation that can pause at each `yield`. */
export type Sliced<T> = Generator<undefined, T, undefined>;

/** Milliseconds after which the thread yields. */
const slice = 10;

/** Runs a computation to the end. */
export function atOnce<T>(work: Sliced<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done === true) return value;
  }
}

/** Runs computations one after the other, so that their slices do not add up. */
export class SlicedWork {
  #last: Promise<unknown> = Promise.resolve();

  /** @throws the computation's error */
  run<T>(work: () => Sliced<T>): Promise<T> {
    const result = this.#last.then(() => inSlices(work()));
    this.#last = result.catch(() => undefined);
    return result;
  }
}

async function inSlices<T>(work: Sliced<T>): Promise<T> {
  for (;;) {
    await eventLoopTurn();
    const began = performance.now();
    do {
      const { done, value } = work.next();
      if (done === true) return value;
    } while (performance.now() - began < slice);
  }
}
