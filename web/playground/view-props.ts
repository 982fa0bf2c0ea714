/** Properties of every view. */
import type { ModelClient } from './model-client.ts';
import type { ModelFacts } from './protocol.ts';

export interface ViewProps {
  readonly client: ModelClient;
  readonly facts: ModelFacts | undefined;
  /** Whether a model is open and no view is computing. */
  readonly ready: boolean;
  readonly onBusy: (busy: boolean) => void;
  readonly onProblem: (error: unknown) => void;
}

/** Why views that build graphs cannot: they need the model's parameters in float32. Undefined if they can. */
export function missingParameters(facts: ModelFacts | undefined): string | undefined {
  if (facts === undefined || facts.dtype === 'f32') return undefined;
  return `The open model was exported as ${facts.dtype}; this view needs one of type f32.`;
}
