/** Settings of a column. */
import type { Sampling } from '../components/sampling-fields.tsx';

export type SpeculationSetting = 'server' | 'off' | 'lookup' | 'suffix' | 'recycle' | 'auto';

/** Whether the answer to a message calls functions. */
export type CallSetting = 'auto' | 'required' | 'none';

export interface Settings extends Omit<Sampling, 'repetitionPenalty'> {
  readonly system: string;
  /** Functions that the model may call, as the reader typed them; see `toolsOf`. */
  readonly tools: string;
  readonly calls: CallSetting;
  readonly speculation: SpeculationSetting;
  readonly markdown: boolean;
}

export const defaultSettings: Settings = {
  temperature: 0.8,
  topP: 0.95,
  topK: 40,
  maxTokens: 256,
  seed: undefined,
  system: '',
  tools: '',
  calls: 'auto',
  speculation: 'server',
  markdown: true,
};

/** Functions in request format. @throws Error if the text is not a JSON list; the server checks the rest */
export function toolsOf({ tools }: Pick<Settings, 'tools'>): readonly unknown[] | undefined {
  if (tools.trim() === '') return undefined;
  try {
    const list: unknown = JSON.parse(tools);
    if (Array.isArray(list)) return list.map((tool: unknown) => tool);
  } catch {
    // Reported below.
  }
  throw new Error("The functions in the settings are not a JSON list like OpenAI's tools.");
}
