/** GLUE (Wang et al., 2018, arXiv 1804.07461) as prompts. STS-B has none: its labels are numbers. */
import type { TaskInput } from '../schema.ts';

type Particular = Pick<TaskInput, 'task' | 'columns' | 'doc_to_text' | 'doc_to_choice'> & Partial<TaskInput>;

function glue(task: Particular): TaskInput {
  return {
    dataset_path: 'nyu-mll/glue',
    dataset_name: task.task,
    folder: `glue_${task.dataset_name ?? task.task}`,
    output_type: 'multiple_choice',
    training_split: 'train',
    validation_split: 'validation',
    doc_to_target: '{{label}}',
    metric_list: [{ metric: 'acc' }],
    ...task,
  };
}

const twoSentences = { sentence1: 'text', sentence2: 'text', label: 'label' } as const;

const entailment: Particular = {
  task: 'mnli',
  dataset_name: 'mnli',
  validation_split: 'validation_matched',
  columns: { premise: 'text', hypothesis: 'text', label: 'label' },
  process_docs: 'mnli',
  doc_to_text: '{{premise}}\nQuestion: {{statement}} True, False or Neither?\nAnswer:',
  doc_to_choice: ['True', 'Neither', 'False'],
};

export const glueDefinitions: readonly TaskInput[] = [
  glue({
    task: 'cola',
    columns: { sentence: 'text', label: 'label' },
    doc_to_text: '{{sentence}}\nQuestion: Does this sentence make sense?\nAnswer:',
    doc_to_choice: ['no', 'yes'],
    metric_list: [{ metric: 'mcc' }],
  }),
  glue({
    task: 'sst2',
    columns: { sentence: 'text', label: 'label' },
    doc_to_text: '{{sentence}}\nQuestion: Is this sentence positive or negative?\nAnswer:',
    doc_to_choice: ['negative', 'positive'],
  }),
  glue({
    task: 'mrpc',
    columns: twoSentences,
    doc_to_text:
      'Sentence 1: {{sentence1}}\nSentence 2: {{sentence2}}\n' +
      'Question: Do both sentences mean the same thing?\nAnswer:',
    doc_to_choice: ['no', 'yes'],
    metric_list: [{ metric: 'acc' }, { metric: 'f1' }],
  }),
  glue({
    task: 'qqp',
    columns: { question1: 'text', question2: 'text', label: 'label' },
    doc_to_text:
      'Question 1: {{question1}}\nQuestion 2: {{question2}}\n' +
      'Question: Do both questions ask the same thing?\nAnswer:',
    doc_to_choice: ['no', 'yes'],
    metric_list: [{ metric: 'acc' }, { metric: 'f1' }],
    metadata: { version: 2 },
  }),
  glue(entailment),
  glue({ ...entailment, task: 'mnli_mismatch', validation_split: 'validation_mismatched' }),
  glue({
    task: 'qnli',
    columns: { question: 'text', sentence: 'text', label: 'label' },
    doc_to_text: '{{question}}\n{{sentence}}\nQuestion: Does this response answer the question?\nAnswer:',
    doc_to_choice: ['yes', 'no'],
  }),
  glue({
    task: 'rte',
    columns: twoSentences,
    doc_to_text: '{{sentence1}}\nQuestion: {{sentence2}} True or False?\nAnswer:',
    doc_to_choice: ['True', 'False'],
  }),
  glue({
    task: 'wnli',
    columns: twoSentences,
    doc_to_text: '{{sentence1}}\nQuestion: {{sentence2}} True or False?\nAnswer:',
    doc_to_choice: ['False', 'True'],
    metadata: { version: 2 },
  }),
];
