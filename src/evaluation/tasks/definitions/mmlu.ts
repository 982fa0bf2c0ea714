/** MMLU (Hendrycks et al., 2020, arXiv 2009.03300): questions on 57 subjects in four groups. */
import type { TaskInput } from '../schema.ts';

const listOf = (text: string): string[] => text.split(' ');

/** Subjects by group. */
export const mmluSubjects: Readonly<Record<string, readonly string[]>> = {
  stem: listOf(
    'abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science ' +
      'college_mathematics college_physics computer_security conceptual_physics electrical_engineering ' +
      'elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science ' +
      'high_school_mathematics high_school_physics high_school_statistics machine_learning',
  ),
  other: listOf(
    'business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing ' +
      'medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology',
  ),
  social_sciences: listOf(
    'econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics ' +
      'high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations ' +
      'security_studies sociology us_foreign_policy',
  ),
  humanities: listOf(
    'formal_logic high_school_european_history high_school_us_history high_school_world_history international_law ' +
      'jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law ' +
      'world_religions',
  ),
};

/** @param space between "about" and the subject's name */
function subjectTask(subject: string, space: string) {
  return {
    dataset_path: 'cais/mmlu',
    dataset_name: subject,
    folder: 'mmlu',
    test_split: 'test',
    fewshot_split: 'dev',
    columns: { question: 'text', choices: 'texts', answer: 'label' },
    description:
      `The following are multiple choice questions (with answers) about${space}` +
      `${subject.replaceAll('_', ' ')}.\n\n`,
    doc_to_text: '{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:',
    fewshot_config: { sampler: 'first_n' },
  } satisfies Partial<TaskInput>;
}

const subjects = Object.values(mmluSubjects).flat();

export const mmluTasks: readonly TaskInput[] = subjects.map((subject) => ({
  ...subjectTask(subject, ' '),
  task: `mmlu_${subject}`,
  output_type: 'multiple_choice',
  process_docs: 'mmlu',
  doc_to_choice: ['A', 'B', 'C', 'D'],
  doc_to_target: '{{answer}}',
  metric_list: [{ metric: 'acc' }],
}));

/**
 * InstructEval's way (Chia et al., 2023, arXiv 2306.04757), whose "5-shot" is likely the paper's: short greedy answers that
 * must begin with the right one. Two spaces, as in the original.
 */
export const instructEvalMmlu: readonly TaskInput[] = subjects.map((subject) => ({
  ...subjectTask(subject, '  '),
  task: `instruct_eval_mmlu_${subject}`,
  output_type: 'generate_until',
  process_docs: 'mmlu_as_it_is',
  doc_to_target: "{{['A', 'B', 'C', 'D'][answer]}}",
  num_fewshot: 5,
  generation_kwargs: { do_sample: false, temperature: 0, max_gen_toks: 2, until: [] },
  metric_list: [{ metric: 'prefix_match' }],
}));
