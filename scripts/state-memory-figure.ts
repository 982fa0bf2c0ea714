/**
 * Draws docs/figures/state-memory.svg: a session's memory for published shapes, by context. Builds states up to
 * `measuredBytes` and counts their bytes; beyond, continues with the formula, which agrees with the measured states.
 *
 *     npx tsx scripts/state-memory-figure.ts
 */
import { mkdirSync } from 'node:fs';
import { stateBytes } from '../src/attention/mixers.ts';
import { mixerPreset } from '../src/attention/presets.ts';
import { writeFileAtomic } from '../src/files/atomic.ts';
import { modelLayout } from '../src/models/graphs/model-layout.ts';
import { SequenceState } from '../src/decoding/state/sequence-state.ts';
import { describeCausalModel } from '../src/models/families/index.ts';
import { publishedShape } from '../src/models/presets/presets.ts';
import type { CausalModel } from '../src/models/model.ts';
import { lineChart } from '../src/report/charts/chart.ts';
import { formatBytes, formatTokens } from '../src/report/quantities.ts';

const file = 'docs/figures/state-memory.svg';
const contexts = [2, 4, 8, 16, 32, 64, 128].map((thousands) => 1024 * thousands);
/** Size of the largest state to build. */
const measuredBytes = 2 ** 30;
const shapes = [
  ['1.1B', 'tinyllama-1.1b'],
  ['7B', 'llama-2-7b'],
] as const;

/** Bytes by the formula in attention/state.ts. */
function computedBytes(model: CausalModel, context: number): number {
  const dims = { ...model.sizes, headDim: model.sizes.headWidth };
  return model.mixers.reduce((total, mixer) => total + stateBytes(mixer, dims, 4, context), 0);
}

const lines: { name: string; points: { x: number; y: number }[] }[] = [];
for (const [size, name] of shapes) {
  const plain = describeCausalModel(publishedShape(name));
  for (const preset of ['softmax', 'augmented']) {
    const model = plain.withMixers(plain.mixers.map(() => mixerPreset(preset)));
    const measured: { x: number; y: number }[] = [];
    const computed: { x: number; y: number }[] = [];
    for (const x of contexts) {
      const expected = computedBytes(model, x);
      if (expected > measuredBytes) {
        computed.push({ x, y: expected / 2 ** 20 });
        continue;
      }
      const state = new SequenceState(model, modelLayout(model));
      state.reserve(x);
      if (state.bytes !== expected) throw new Error(`${name} ${preset} at ${x}: ${state.bytes} bytes, not ${expected}`);
      measured.push({ x, y: state.bytes / 2 ** 20 });
    }
    console.log(
      `${size} ${preset}: ${[...measured, ...computed].map(({ x, y }) => `${formatTokens(x)} ${formatBytes(y * 2 ** 20)}`).join(', ')}`,
    );
    if (measured.length > 0) lines.push({ name: `${size} ${preset}`, points: measured });
    if (computed.length > 0) lines.push({ name: `${size} ${preset}, computed`, points: computed });
  }
}
mkdirSync('docs/figures', { recursive: true });
const chart = await lineChart({
  title: 'What a session remembers, in float32',
  x: { label: 'context', unit: 'tokens', scale: 'log2' },
  y: { label: 'state', unit: 'MiB', scale: 'log2', format: (value) => String(value) },
  lines,
});
await writeFileAtomic(file, chart.svgFile());
console.log(`wrote ${file}`);
