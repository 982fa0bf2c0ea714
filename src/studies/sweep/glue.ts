/** GLUE's tasks for fine-tuning (Wang et al., arXiv 1804.07461): label words and reported measures. */
import { glueDefinitions } from '../../evaluation/tasks/definitions/glue.ts';
import type { DataSource } from '../../evaluation/tasks/data/locate.ts';

/** Numbers that GLUE reports, by their names in results. */
export const measureNames = ['accuracy', 'f1', 'matthews', 'pearson', 'spearman'] as const;
export type Measure = (typeof measureNames)[number];

/** A task of texts with labels or numbers. */
export interface ClassificationTask {
  readonly name: string;
  /** Columns of the text and of a second one. */
  readonly columns: readonly string[];
  /** Column of the label. */
  readonly label: string;
  /** Words of the labels in the order of their ids, for models that write them; undefined if labels are numbers. */
  readonly words?: readonly string[];
  readonly measures: readonly Measure[];
}

/** A GLUE task and the place of its rows. */
export interface GlueTask extends ClassificationTask {
  readonly source: DataSource;
  /** The measured split: labels of test splits are not public. */
  readonly validation: string;
}

const entailment = ['entailment', 'not_entailment'];
const threeWays = ['entailment', 'neutral', 'contradiction'];

/** Words of the labels in the order of their ids. */
const words: Readonly<Record<string, readonly string[]>> = {
  cola: ['unacceptable', 'acceptable'],
  sst2: ['negative', 'positive'],
  mrpc: ['not_equivalent', 'equivalent'],
  qqp: ['not_duplicate', 'duplicate'],
  mnli: threeWays,
  mnli_mismatched: threeWays,
  qnli: entailment,
  rte: entailment,
  wnli: ['not_entailment', 'entailment'],
};

const measures: Readonly<Record<string, Measure>> = { acc: 'accuracy', f1: 'f1', mcc: 'matthews' };

/** All tasks: the prompts of `eval tasks`, and STS-B. */
export const glueTasks: readonly GlueTask[] = [
  ...glueDefinitions.map(({ validation_split: validation = 'validation', ...definition }) => {
    // The second split of MNLI has the hub's name here.
    const task = definition.task.replace(/mismatch$/, 'mismatched');
    return {
      name: task,
      columns: Object.keys(definition.columns).filter((name) => name !== 'label'),
      label: 'label',
      words: words[task],
      measures: definition.metric_list.map(({ metric }) => measures[metric]),
      source: { ...definition, task },
      validation,
    };
  }),
  {
    name: 'stsb',
    columns: ['sentence1', 'sentence2'],
    label: 'label',
    measures: ['pearson', 'spearman'],
    source: { task: 'stsb', dataset_path: 'nyu-mll/glue', dataset_name: 'stsb', folder: 'glue_stsb' },
    validation: 'validation',
  },
];
