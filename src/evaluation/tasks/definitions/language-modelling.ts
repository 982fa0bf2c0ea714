/** LAMBADA (Paperno et al., 2016, arXiv 1606.06031), the last word of a passage; WikiText (Merity et al., 2016, arXiv 1609.07843). */
import type { TaskInput } from '../schema.ts';

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

export const languageModelling: readonly TaskInput[] = [
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
    // Words and bytes are counted in the page as it is stored.
    doc_to_target: '{{page}}',
    metric_list: [{ metric: 'word_perplexity' }, { metric: 'byte_perplexity' }, { metric: 'bits_per_byte' }],
    metadata: { version: 2 },
  },
];
