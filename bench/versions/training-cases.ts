/** Training steps with two layers, as in `bench/training/step.ts`. */
import { mixerPreset } from '../../src/attention/presets.ts';
import { randomLlamaConfig } from '../random-llama.ts';
import { type Checkout, threads } from './checkout.ts';
import type { Case, Measure } from './turns.ts';

/** Whole steps in tokens per second, by mixer and width. */
export function trainingCases(checkouts: readonly [Checkout, Checkout], widths: readonly number[]): Case[] {
  return widths.flatMap((width) =>
    ['softmax', 'augmented'].map((mixer): Case => {
      const speed =
        ({ families, trainingSpeed }: Checkout): Measure =>
        async () => {
          const sizes = { width, layers: 2, vocabulary: 512, length: 1024 };
          const plain = families.describeCausalModel(randomLlamaConfig(sizes));
          const model = plain.withMixers(plain.mixers.map(() => mixerPreset(mixer)));
          const options = { rows: 4, length: 1024, runs: 3, compile: { device: 'cpu', threads } } as const;
          return (await trainingSpeed.trainingSpeed(model, options)).tokensPerSecond;
        };
      return {
        ...{ what: `training step, ${mixer}, width ${width}`, unit: 'tokens/s', moreIsBetter: true, least: 1 },
        measure: [speed(checkouts[0]), speed(checkouts[1])],
      };
    }),
  );
}
