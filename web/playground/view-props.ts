/** What every view of the page is given. */
import type { ModelClient } from './model-client.ts';

export interface ViewProps {
  readonly client: ModelClient;
  /** Whether a model is open and no view computes. */
  readonly ready: boolean;
  readonly onBusy: (busy: boolean) => void;
  readonly onProblem: (error: unknown) => void;
}
