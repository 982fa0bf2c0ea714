/** PIQA (Bisk et al., 2020, arXiv 1911.11641): which of two ways reaches a goal. */
import type { TaskInput } from '../schema.ts';

export const piqa: TaskInput = {
  task: 'piqa',
  dataset_path: 'baber/piqa',
  output_type: 'multiple_choice',
  training_split: 'train',
  validation_split: 'validation',
  columns: { goal: 'text', sol1: 'text', sol2: 'text', label: 'label' },
  doc_to_text: 'Question: {{goal}}\nAnswer:',
  doc_to_choice: ['{{sol1}}', '{{sol2}}'],
  doc_to_target: '{{label}}',
  metric_list: [{ metric: 'acc' }, { metric: 'acc_norm' }],
};
