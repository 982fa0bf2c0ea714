/** CNN/DailyMail (See et al., 2017, arXiv 1704.04368): summaries of news articles. */
import type { TaskInput } from '../schema.ts';

export const cnnDailymail: TaskInput = {
  task: 'cnn_dailymail_abisee',
  dataset_path: 'abisee/cnn_dailymail',
  dataset_name: '3.0.0',
  folder: 'cnn_dailymail',
  output_type: 'generate_until',
  test_split: 'test',
  columns: { article: 'text', highlights: 'text' },
  doc_to_text: 'Summarize the following article:\n\n{{article}}\n\nSummary:',
  doc_to_target: '{{highlights}}',
  num_fewshot: 0,
  generation_kwargs: { max_gen_toks: 128, do_sample: false },
  metric_list: [{ metric: 'rouge1' }, { metric: 'rouge2' }, { metric: 'rougeL' }, { metric: 'summary_length' }],
};
