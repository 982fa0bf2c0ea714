/**
 * MMLU and BBH as InstructEval asks them (Chia et al., 2023, arXiv 2306.04757), whose "5-shot" and "3-shot" are likely
 * the paper's: short greedy answers that must begin with the right answer.
 */
import type { TaskInput } from '../schema.ts';
import { bbhSubsets } from './bbh.ts';
import { mmluSubjects } from './mmlu.ts';

const greedy = { do_sample: false, temperature: 0 } as const;

function subjectTask(subject: string): TaskInput {
  return {
    task: `instruct_eval_mmlu_${subject}`,
    dataset_path: 'cais/mmlu',
    dataset_name: subject,
    folder: 'mmlu',
    output_type: 'generate_until',
    test_split: 'test',
    fewshot_split: 'dev',
    columns: { question: 'text', choices: 'texts', answer: 'label' },
    process_docs: 'mmlu_as_it_is',
    // Two spaces, as in the original.
    description:
      'The following are multiple choice questions (with answers) about  ' + `${subject.replaceAll('_', ' ')}.\n\n`,
    doc_to_text: '{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:',
    doc_to_target: "{{['A', 'B', 'C', 'D'][answer]}}",
    num_fewshot: 5,
    fewshot_config: { sampler: 'first_n' },
    generation_kwargs: { ...greedy, max_gen_toks: 2, until: [] },
    metric_list: [{ metric: 'prefix_match' }],
  };
}

function subsetTask(subset: string): TaskInput {
  return {
    task: `instruct_eval_bbh_${subset}`,
    dataset_path: 'SaylorTwift/bbh',
    dataset_name: subset,
    folder: 'bbh',
    output_type: 'generate_until',
    test_split: 'test',
    fewshot_split: 'test',
    skip_rows: 3,
    columns: { input: 'text', target: 'text' },
    doc_to_text: '{{input}}\nAnswer:',
    doc_to_target: '{{target}}',
    num_fewshot: 3,
    fewshot_config: { sampler: 'first_n' },
    generation_kwargs: { ...greedy, max_gen_toks: 32, until: [] },
    metric_list: [{ metric: 'prefix_match' }],
  };
}

export const instructEvalMmlu: readonly TaskInput[] = Object.values(mmluSubjects).flat().map(subjectTask);
export const instructEvalBbh: readonly TaskInput[] = bbhSubsets.map(subsetTask);
