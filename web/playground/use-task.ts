/** A view's work, such as writing a text: it may fail, and the page is busy until it ends. */
import { useState } from 'preact/hooks';
import type { ViewProps } from './view-props.ts';

/** Whether a task is running, and a function that runs one. */
export function useTask({
  onBusy,
  onProblem,
}: Pick<ViewProps, 'onBusy' | 'onProblem'>): [boolean, (task: () => Promise<void>) => void] {
  const [running, setRunning] = useState(false);
  const run = (task: () => Promise<void>): void => {
    setRunning(true);
    onBusy(true);
    task()
      .catch(onProblem)
      .finally(() => {
        setRunning(false);
        onBusy(false);
      });
  };
  return [running, run];
}
