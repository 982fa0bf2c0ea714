/** HellaSwag (Zellers et al., 2019, arXiv 1905.07830): how a description goes on. */
import type { TaskInput } from '../schema.ts';

export const hellaswag: TaskInput = {
  task: 'hellaswag',
  dataset_path: 'Rowan/hellaswag',
  output_type: 'multiple_choice',
  training_split: 'train',
  validation_split: 'validation',
  columns: { activity_label: 'text', ctx_a: 'text', ctx_b: 'text', endings: 'texts', label: 'label' },
  process_docs: 'hellaswag',
  doc_to_text: '{{query}}',
  doc_to_choice: 'options',
  doc_to_target: '{{label}}',
  metric_list: [{ metric: 'acc' }, { metric: 'acc_norm' }],
};
