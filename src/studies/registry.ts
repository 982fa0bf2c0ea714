/** All studies by name, each loaded when it is named. */
import { LinnetError } from '../errors.ts';
import type { JobHandler } from '../jobs/queue.ts';
import type { AnyStudy, HandlerOptions } from './frame/run-study.ts';

export const studyTable: Readonly<Record<string, () => Promise<AnyStudy>>> = {
  sweep: async () => (await import('./sweep/study.ts')).sweepStudy,
  matrix: async () => (await import('./matrix/study.ts')).matrixStudy,
  recall: async () => (await import('./recall/study.ts')).recallStudy,
  needle: async () => (await import('./needle/study.ts')).needleStudy,
  rules: async () => (await import('./rules/study.ts')).rulesStudy,
  leak: async () => (await import('./leak/study.ts')).leakStudy,
};

/** Runs trials of any study that come from the queue. */
export function studyTrialHandler(options: HandlerOptions): JobHandler {
  let last: { readonly name: string; readonly handler: JobHandler } | undefined;
  return async (data, context) => {
    const { study: name } = (await import('./frame/run-study.ts')).trialJob(data);
    if (!Object.hasOwn(studyTable, name)) throw new LinnetError('INPUT', `this worker knows no study "${name}"`);
    if (last?.name !== name) last = { name, handler: (await studyTable[name]()).handler(options) };
    return last.handler(data, context);
  };
}
