/** ARC (Clark et al., 2018, arXiv 1803.05457): questions of school science, in an easy and a hard set. */
import type { TaskInput } from '../schema.ts';

function arc(task: string, name: string): TaskInput {
  return {
    task,
    dataset_path: 'allenai/ai2_arc',
    dataset_name: name,
    output_type: 'multiple_choice',
    training_split: 'train',
    validation_split: 'validation',
    test_split: 'test',
    columns: { question: 'text', 'choices.text': 'texts', 'choices.label': 'texts', answerKey: 'text' },
    process_docs: 'arc',
    doc_to_text: 'Question: {{question}}\nAnswer:',
    doc_to_choice: 'choices.text',
    doc_to_target: '{{gold}}',
    metric_list: [{ metric: 'acc' }, { metric: 'acc_norm' }],
  };
}

export const arcTasks: readonly TaskInput[] = [arc('arc_challenge', 'ARC-Challenge'), arc('arc_easy', 'ARC-Easy')];
