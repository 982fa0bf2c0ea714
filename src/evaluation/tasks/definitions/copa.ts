/** COPA (Roemmele et al., 2011), as in SuperGLUE: the likelier cause or effect. */
import type { TaskInput } from '../schema.ts';

export const copa: TaskInput = {
  task: 'copa',
  dataset_path: 'aps/super_glue',
  dataset_name: 'copa',
  output_type: 'multiple_choice',
  training_split: 'train',
  validation_split: 'validation',
  columns: { premise: 'text', choice1: 'text', choice2: 'text', question: 'text', label: 'label' },
  process_docs: 'copa',
  doc_to_text: '{{prompt}}',
  // The choices begin with a space of their own: with the delimiter there are two, as in published results.
  doc_to_choice: 'choices',
  doc_to_target: '{{target}}',
  metric_list: [{ metric: 'acc' }],
};
