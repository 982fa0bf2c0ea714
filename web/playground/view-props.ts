/** What every view of the page is given. */
import type { ModelClient } from './model-client.ts';
import type { ModelFacts } from './protocol.ts';

export interface ViewProps {
  readonly client: ModelClient;
  readonly facts: ModelFacts | undefined;
  /** Whether a model is open and no view computes. */
  readonly ready: boolean;
  readonly onBusy: (busy: boolean) => void;
  readonly onProblem: (error: unknown) => void;
}

/** Why views that build graphs of their own cannot: they need the model's parameters as they are. */
export function missingParameters(facts: ModelFacts | undefined): string | undefined {
  if (facts === undefined || facts.dtype === 'f32') return undefined;
  return `The open model was exported as ${facts.dtype}; this view needs one of type f32.`;
}
