/** Settings of a column. */

export type Speculation = 'server' | 'off' | 'lookup';

export interface Settings {
  readonly temperature: number;
  readonly topP: number;
  /** 0 is not a bound. */
  readonly topK: number;
  readonly maxTokens: number;
  /** Undefined takes another one each time. */
  readonly seed: number | undefined;
  readonly system: string;
  readonly speculation: Speculation;
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
