/**
 * AG News (Zhang et al., 2015, arXiv 1509.01626): the section of a news article. No published harness has a plain prompt
 * for it, and the paper gives none: this one is Linnet's own.
 */
import type { TaskInput } from '../schema.ts';

export const agNews: TaskInput = {
  task: 'linnet_ag_news',
  dataset_path: 'fancyzhx/ag_news',
  folder: 'ag_news',
  output_type: 'multiple_choice',
  training_split: 'train',
  test_split: 'test',
  columns: { text: 'text', label: 'label' },
  doc_to_text: '{{text}}\nQuestion: Is this article about world, sports, business or technology news?\nAnswer:',
  doc_to_choice: ['world', 'sports', 'business', 'technology'],
  doc_to_target: '{{label}}',
  metric_list: [{ metric: 'acc' }, { metric: 'acc_norm' }],
};
