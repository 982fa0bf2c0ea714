/**
 * Tasks of one or two data sets each:
 * - PIQA (Bisk et al., 2020, arXiv 1911.11641): which of two ways reaches a goal.
 * - COPA (Roemmele et al., 2011), as in SuperGLUE: the likelier cause or effect.
 * - ARC (Clark et al., 2018, arXiv 1803.05457): school science questions, in an easy and a hard set.
 * - HellaSwag (Zellers et al., 2019, arXiv 1905.07830): how a description goes on.
 * - AG News (Zhang et al., 2015, arXiv 1509.01626): the section of a news article. No published harness has a plain prompt
 *   for it, and the paper gives none: this one is Linnet's own.
 * - LAMBADA (Paperno et al., 2016, arXiv 1606.06031): the last word of a passage.
 * - WikiText (Merity et al., 2016, arXiv 1609.07843): whole pages.
 * - CNN/DailyMail (See et al., 2017, arXiv 1704.04368): summaries of news articles.
 */
import type { TaskInput } from '../schema.ts';

/** For a task with training and validation rows, whose answers are choices. */
const choice = {
  output_type: 'multiple_choice',
  training_split: 'train',
  validation_split: 'validation',
  metric_list: [{ metric: 'acc' }, { metric: 'acc_norm' }],
} satisfies Partial<TaskInput>;

function arc(task: string, name: string): TaskInput {
  return {
    ...choice,
    task,
    dataset_path: 'allenai/ai2_arc',
    dataset_name: name,
    test_split: 'test',
    columns: { question: 'text', 'choices.text': 'texts', 'choices.label': 'texts', answerKey: 'text' },
    process_docs: 'arc',
    doc_to_text: 'Question: {{question}}\nAnswer:',
    doc_to_choice: 'choices.text',
    doc_to_target: '{{gold}}',
  };
}

function lambada(task: string, path: string): TaskInput {
  return {
    task,
    dataset_path: path,
    dataset_name: 'default',
    output_type: 'loglikelihood',
    test_split: 'test',
    columns: { text: 'text' },
    process_docs: 'lambada',
    doc_to_text: '{{context}}',
    doc_to_target: '{{last}}',
    metric_list: [{ metric: 'perplexity' }, { metric: 'acc' }],
  };
}

export const questionTasks: readonly TaskInput[] = [
  {
    ...choice,
    task: 'piqa',
    dataset_path: 'baber/piqa',
    columns: { goal: 'text', sol1: 'text', sol2: 'text', label: 'label' },
    doc_to_text: 'Question: {{goal}}\nAnswer:',
    doc_to_choice: ['{{sol1}}', '{{sol2}}'],
    doc_to_target: '{{label}}',
  },
  {
    ...choice,
    task: 'copa',
    dataset_path: 'aps/super_glue',
    dataset_name: 'copa',
    columns: { premise: 'text', choice1: 'text', choice2: 'text', question: 'text', label: 'label' },
    process_docs: 'copa',
    doc_to_text: '{{prompt}}',
    // The choices begin with a space: with the delimiter there are two, as in published results.
    doc_to_choice: 'choices',
    doc_to_target: '{{target}}',
    metric_list: [{ metric: 'acc' }],
  },
  arc('arc_challenge', 'ARC-Challenge'),
  arc('arc_easy', 'ARC-Easy'),
  {
    ...choice,
    task: 'hellaswag',
    dataset_path: 'Rowan/hellaswag',
    columns: { activity_label: 'text', ctx_a: 'text', ctx_b: 'text', endings: 'texts', label: 'label' },
    process_docs: 'hellaswag',
    doc_to_text: '{{query}}',
    doc_to_choice: 'options',
    doc_to_target: '{{label}}',
  },
  {
    ...choice,
    task: 'linnet_ag_news',
    dataset_path: 'fancyzhx/ag_news',
    folder: 'ag_news',
    validation_split: undefined,
    test_split: 'test',
    columns: { text: 'text', label: 'label' },
    doc_to_text: '{{text}}\nQuestion: Is this article about world, sports, business or technology news?\nAnswer:',
    doc_to_choice: ['world', 'sports', 'business', 'technology'],
    doc_to_target: '{{label}}',
  },
  lambada('lambada_openai', 'EleutherAI/lambada_openai'),
  lambada('lambada_standard', 'cimec/lambada'),
  {
    task: 'wikitext',
    dataset_path: 'EleutherAI/wikitext_document_level',
    dataset_name: 'wikitext-2-raw-v1',
    output_type: 'loglikelihood_rolling',
    training_split: 'train',
    validation_split: 'validation',
    test_split: 'test',
    columns: { page: 'text' },
    process_docs: 'wikitext',
    doc_to_text: '{{text}}',
    // Words and bytes are counted in the page as stored.
    doc_to_target: '{{page}}',
    metric_list: [{ metric: 'word_perplexity' }, { metric: 'byte_perplexity' }, { metric: 'bits_per_byte' }],
    metadata: { version: 2 },
  },
  {
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
  },
];
