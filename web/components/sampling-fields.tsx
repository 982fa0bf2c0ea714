/** Fields for how tokens are chosen. Values are told on every change. */
import { NumberField, Slider } from './fields.tsx';
import { formatFixed } from '../../src/report/quantities.ts';

/** What the fields are of. */
export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  /** 0 is not a bound. */
  readonly topK: number;
  /** Absent if not offered. */
  readonly repetitionPenalty?: number;
  readonly maxTokens: number;
  /** Undefined for a new one each time. */
  readonly seed: number | undefined;
}

export interface SamplingFieldsProps {
  readonly sampling: Sampling;
  /** What emptied fields go back to; without a seed, an empty field stands for another one each time. */
  readonly defaults: Pick<Sampling, 'maxTokens' | 'seed'>;
  /** Most that the number of tokens can be. */
  readonly mostTokens: number;
  readonly onSampling: (change: Partial<Sampling>) => void;
}

const twoDecimals = (value: number): string => formatFixed(value, 2);
const countOrAll = (value: number): string => (value === 0 ? 'all' : String(value));

const sliders = [
  [
    'temperature',
    'Temperature',
    '0 always takes the likeliest token',
    { min: 0, max: 2, step: 0.05, format: twoDecimals },
  ],
  ['topP', 'Top-p', 'share of probability that is drawn from', { min: 0.05, max: 1, step: 0.05, format: twoDecimals }],
  ['topK', 'Top-k', 'tokens that are drawn from', { min: 0, max: 200, step: 1, format: countOrAll }],
  ['repetitionPenalty', 'Repetition penalty', '1 is none', { min: 1, max: 2, step: 0.05, format: twoDecimals }],
] as const;

export function SamplingForm({ sampling, defaults, mostTokens, onSampling }: SamplingFieldsProps) {
  const { maxTokens, seed } = sampling;
  return (
    <>
      <NumberField
        label="Most tokens"
        value={maxTokens}
        min={1}
        max={mostTokens}
        onValue={(value = defaults.maxTokens) => onSampling({ maxTokens: value })}
      />
      {sliders.map(([key, label, note, range]) => {
        const value = sampling[key];
        const set = (changed: number): void => onSampling({ [key]: changed });
        return value !== undefined && <Slider key={key} {...{ label, note, value, ...range }} onValue={set} />;
      })}
      <NumberField
        label="Seed"
        note="the same seed writes the same text"
        value={seed}
        min={0}
        max={4294967295}
        placeholder={defaults.seed === undefined ? 'another one each time' : undefined}
        onValue={(value = defaults.seed) => onSampling({ seed: value })}
      />
    </>
  );
}
