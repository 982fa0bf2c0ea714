/** Fields for how tokens are chosen. */
import { NumberField, Slider } from '../components/fields.tsx';
import { formatFixed } from '../../src/report/quantities.ts';

export interface Sampling {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly repetitionPenalty: number;
  readonly seed: number;
  readonly maxTokens: number;
}

export const defaultSampling: Sampling = {
  temperature: 0,
  topP: 1,
  topK: 0,
  repetitionPenalty: 1,
  seed: 1,
  maxTokens: 120,
};

const twoDecimals = (value: number): string => formatFixed(value, 2);

export interface SamplingFieldsProps {
  readonly sampling: Sampling;
  readonly onSampling: (sampling: Sampling) => void;
}

export function SamplingFields({ sampling, onSampling }: SamplingFieldsProps) {
  const set = (change: Partial<Sampling>): void => onSampling({ ...sampling, ...change });
  return (
    <>
      <NumberField
        label="Tokens"
        value={sampling.maxTokens}
        min={1}
        max={4096}
        onValue={(maxTokens = defaultSampling.maxTokens) => set({ maxTokens })}
      />
      <Slider
        label="Temperature"
        note="0 always takes the likeliest token"
        value={sampling.temperature}
        min={0}
        max={2}
        step={0.05}
        format={twoDecimals}
        onValue={(temperature) => set({ temperature })}
      />
      <Slider
        label="Top-p"
        note="share of probability that is drawn from"
        value={sampling.topP}
        min={0.05}
        max={1}
        step={0.05}
        format={twoDecimals}
        onValue={(topP) => set({ topP })}
      />
      <Slider
        label="Top-k"
        note="tokens that are drawn from"
        value={sampling.topK}
        min={0}
        max={200}
        step={1}
        format={(value) => (value === 0 ? 'all' : String(value))}
        onValue={(topK) => set({ topK })}
      />
      <Slider
        label="Repetition penalty"
        note="1 is none"
        value={sampling.repetitionPenalty}
        min={1}
        max={2}
        step={0.05}
        format={twoDecimals}
        onValue={(repetitionPenalty) => set({ repetitionPenalty })}
      />
      <NumberField
        label="Seed"
        note="the same seed writes the same text"
        value={sampling.seed}
        min={0}
        max={4294967295}
        onValue={(seed = defaultSampling.seed) => set({ seed })}
      />
    </>
  );
}

/** What the sampler is given. */
export function samplerOf({ maxTokens: _, ...sampler }: Sampling) {
  return sampler;
}
