/** All studies by name, each loaded when it is named: `linnet --help` lists them. */
import { LinnetError } from '../errors.ts';
import type { JobHandler } from '../jobs/job.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { AnyStudy } from './frame/run-study.ts';

interface StudyEntry {
  readonly summary: string;
  readonly load: () => Promise<AnyStudy>;
}

export const studyTable: Readonly<Record<string, StudyEntry>> = {
  sweep: {
    summary: 'methods × models × seeds: perplexity after the same training',
    load: async () => (await import('./sweep/study.ts')).sweepStudy,
  },
  classification: {
    summary: 'methods × models × tasks × seeds: classifiers after the same fine-tuning',
    load: async () => (await import('./classification/study.ts')).classificationStudy,
  },
  matrix: {
    summary: 'which mixer works in which family, found by running',
    load: async () => (await import('./matrix/study.ts')).matrixStudy,
  },
  recall: {
    summary: 'associative recall against the bytes of the state, of trained mixers or of models',
    load: async () => (await import('./recall/study.ts')).recallStudy,
  },
  needle: {
    summary: 'what models find in a long text, by length and depth',
    load: async () => (await import('./needle/study.ts')).needleStudy,
  },
  rules: {
    summary: 'token trees against sequential decoding, by exact and inexact rules',
    load: async () => (await import('./rules/study.ts')).rulesStudy,
  },
  leak: {
    summary: 'training with a convolution that reads the future',
    load: async () => (await import('./leak/study.ts')).leakStudy,
  },
};

/** Runs trials of any study that come from the queue. */
export function studyTrialHandler(compile: CompileOptions): JobHandler {
  let last: { readonly name: string; readonly handler: JobHandler } | undefined;
  return async (data, context) => {
    const { study: name } = (await import('./frame/run-study.ts')).trialJob(data);
    if (!Object.hasOwn(studyTable, name)) throw new LinnetError('INPUT', `this worker knows no study "${name}"`);
    if (last?.name !== name) last = { name, handler: (await studyTable[name].load()).handler(compile) };
    return last.handler(data, context);
  };
}
