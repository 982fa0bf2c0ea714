/** All studies by name, each loaded when it is named: `linnet --help` lists them. */
import { LinnetError } from '../errors.ts';
import type { JobHandler } from '../jobs/job.ts';
import type { CompileOptions } from '../runtime/compile.ts';
import type { Study } from './frame/run-study.ts';
import type { StudyDefinition, TrialPlace } from './frame/study.ts';

interface StudyEntry {
  readonly summary: string;
  readonly load: () => Promise<Study>;
}

export const studyTable: Readonly<Record<string, StudyEntry>> = {
  sweep: {
    summary: 'methods × models × seeds: perplexity after the same training',
    load: () => defined(import('./sweep/study.ts').then(({ sweepStudy }) => sweepStudy)),
  },
  classification: {
    summary: 'methods × models × tasks × seeds: classifiers after the same fine-tuning',
    load: () => defined(import('./classification/study.ts').then(({ classificationStudy }) => classificationStudy)),
  },
  matrix: {
    summary: 'which mixer works in which family, found by running',
    load: () => defined(import('./matrix/study.ts').then(({ matrixStudy }) => matrixStudy)),
  },
  recall: {
    summary: 'associative recall against the bytes of the state, of trained mixers or of models',
    load: () => defined(import('./recall/study.ts').then(({ recallStudy }) => recallStudy)),
  },
  needle: {
    summary: 'what models find in a long text, by length and depth',
    load: () => defined(import('./needle/study.ts').then(({ needleStudy }) => needleStudy)),
  },
  rules: {
    summary: 'token trees against sequential decoding, by exact and inexact rules',
    load: () => defined(import('./rules/study.ts').then(({ rulesStudy }) => rulesStudy)),
  },
  leak: {
    summary: 'training with a convolution that reads the future',
    load: () => defined(import('./leak/study.ts').then(({ leakStudy }) => leakStudy)),
  },
};

async function defined<Plan extends object, Trial, Place extends TrialPlace, Measured extends object>(
  definition: Promise<StudyDefinition<Plan, Trial, Place, Measured>>,
): Promise<Study> {
  return (await import('./frame/run-study.ts')).defineStudy(await definition);
}

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
