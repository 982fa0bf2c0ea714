/** The tasks of GLUE (Wang et al., arXiv 1804.07461) as they are fine-tuned: their columns, labels and reported numbers. */
import type { DataSource } from '../../evaluation/tasks/data/locate.ts';

/** Numbers that GLUE reports, by their names in results. */
export const measureNames = ['accuracy', 'f1', 'matthews', 'pearson', 'spearman'] as const;
export type Measure = (typeof measureNames)[number];

/** A task of texts with labels or numbers. */
export interface ClassificationTask {
  readonly name: string;
  /** Columns of the text and of a second one. */
  readonly columns: readonly [string] | readonly [string, string];
  /** Column of the label. */
  readonly label: string;
  /** Words of the labels in the order of their ids, for models that write them; undefined where labels are numbers. */
  readonly words?: readonly string[];
  readonly measures: readonly Measure[];
}

/** A task of GLUE, and where its rows are. */
export interface GlueTask extends ClassificationTask {
  readonly source: DataSource;
  /** The split that is measured on: the labels of test splits are not public. */
  readonly validation: string;
}

function glue(task: Omit<ClassificationTask, 'label'>, validation = 'validation'): GlueTask {
  const [config] = task.name.split('_');
  const source = { task: task.name, dataset_path: 'nyu-mll/glue', dataset_name: config, folder: `glue_${config}` };
  return { ...task, label: 'label', source, validation };
}

const entailment = ['entailment', 'not_entailment'];
const sentences = ['sentence1', 'sentence2'] as const;
const mnli = {
  columns: ['premise', 'hypothesis'],
  words: ['entailment', 'neutral', 'contradiction'],
  measures: ['accuracy'],
} as const;

const accuracy = ['accuracy'] as const;
const withF1 = ['accuracy', 'f1'] as const;

/** All tasks, in the order of the paper's tables and then the rest. */
export const glueTasks: readonly GlueTask[] = [
  glue({ name: 'sst2', columns: ['sentence'], words: ['negative', 'positive'], measures: accuracy }),
  glue({ name: 'wnli', columns: sentences, words: ['not_entailment', 'entailment'], measures: accuracy }),
  glue({ name: 'qnli', columns: ['question', 'sentence'], words: entailment, measures: accuracy }),
  glue({ name: 'mnli', ...mnli }, 'validation_matched'),
  glue({ name: 'rte', columns: sentences, words: entailment, measures: accuracy }),
  glue({ name: 'mrpc', columns: sentences, words: ['not_equivalent', 'equivalent'], measures: withF1 }),
  glue({ name: 'qqp', columns: ['question1', 'question2'], words: ['not_duplicate', 'duplicate'], measures: withF1 }),
  glue({ name: 'cola', columns: ['sentence'], words: ['unacceptable', 'acceptable'], measures: ['matthews'] }),
  glue({ name: 'stsb', columns: sentences, measures: ['pearson', 'spearman'] }),
  glue({ name: 'mnli_mismatched', ...mnli }, 'validation_mismatched'),
];
