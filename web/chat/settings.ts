/** Settings of a column. */
import type { Sampling } from '../components/sampling-fields.tsx';

export type SpeculationSetting = 'server' | 'off' | 'lookup' | 'suffix' | 'recycle' | 'auto';

export interface Settings extends Omit<Sampling, 'repetitionPenalty'> {
  readonly system: string;
  readonly speculation: SpeculationSetting;
  /** Whether texts of the model are shown as Markdown. */
  readonly markdown: boolean;
}

export const defaultSettings: Settings = {
  temperature: 0.8,
  topP: 0.95,
  topK: 40,
  maxTokens: 256,
  seed: undefined,
  system: '',
  speculation: 'server',
  markdown: true,
};
