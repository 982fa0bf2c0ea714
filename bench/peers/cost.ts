/** The cost of work: wall-clock and processor time. Processor time counts when other work shares the machine. */

/** Milliseconds. */
export interface Cost {
  readonly wall: number;
  /** All threads of this process together. */
  readonly processor: number;
}

export async function costOf(work: () => unknown): Promise<Cost> {
  const before = process.cpuUsage();
  const started = performance.now();
  await work();
  const wall = performance.now() - started;
  const { user, system } = process.cpuUsage(before);
  return { wall, processor: (user + system) / 1000 };
}
