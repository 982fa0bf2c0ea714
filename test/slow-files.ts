/** A reporter of Vitest that ends a run of many files with the ten slowest, and marks those that are over their budget. */
import { relative } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

const shown = 10;
/** Seconds that a file may take, its imports included. */
const budget = 10;

export default class SlowFiles implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    if (modules.length <= shown) return;
    const files = modules.map((module) => {
      const { collectDuration, setupDuration, duration } = module.diagnostic();
      return { seconds: (collectDuration + setupDuration + duration) / 1000, name: relative('', module.moduleId) };
    });
    const slowest = files.sort((a, b) => b.seconds - a.seconds).slice(0, shown);
    const line = ({ seconds, name }: (typeof files)[number]): string =>
      `${seconds.toFixed(1).padStart(6)} s  ${name}${seconds > budget ? `  (over ${budget} s)` : ''}`;
    process.stdout.write(`\nSlowest files\n${slowest.map(line).join('\n')}\n\n`);
  }
}
