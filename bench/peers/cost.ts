/** What work costs: by the clock, and of processors, which counts where other work takes turns on the machine. */

/** Milliseconds. */
export interface Cost {
  readonly wall: number;
  /** Of all threads of this process. */
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
