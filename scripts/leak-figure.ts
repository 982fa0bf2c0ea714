/**
 * Trains the two models of the leak demonstration and draws docs/figures/leak.svg. Takes a quarter of a minute.
 *
 *     npx tsx scripts/leak-figure.ts
 */
import { mkdirSync } from 'node:fs';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { leakDemonstration } from '../src/studies/leak-demonstration.ts';
import { leakFigure } from '../src/studies/leak-figure.ts';

const file = 'docs/figures/leak.svg';
const result = await leakDemonstration({
  onProgress: ({ run, point: { step, loss }, steps }) => {
    if (step % 50 === 0) console.log(`${run}: step ${step} of ${steps}, loss ${loss.toFixed(3)}`);
  },
});
mkdirSync('docs/figures', { recursive: true });
await writeFileAtomic(file, (await leakFigure(result)).svgFile());
for (const run of ['masked', 'unmasked'] as const) {
  console.log(`${run}: loss of a byte with nothing behind it: ${result[run].nextByteLoss.toFixed(3)}`);
}
console.log(`wrote ${file}`);
