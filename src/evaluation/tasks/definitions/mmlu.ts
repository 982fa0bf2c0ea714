/** MMLU (Hendrycks et al., 2020, arXiv 2009.03300): questions of 57 subjects in four groups. */
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

function subjectTask(subject: string): TaskInput {
  return {
    task: `mmlu_${subject}`,
    dataset_path: 'cais/mmlu',
    dataset_name: subject,
    folder: 'mmlu',
    output_type: 'multiple_choice',
    test_split: 'test',
    fewshot_split: 'dev',
    columns: { question: 'text', choices: 'texts', answer: 'label' },
    process_docs: 'mmlu',
    description:
      'The following are multiple choice questions (with answers) about ' + `${subject.replaceAll('_', ' ')}.\n\n`,
    doc_to_text: '{{question}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:',
    doc_to_choice: ['A', 'B', 'C', 'D'],
    doc_to_target: '{{answer}}',
    fewshot_config: { sampler: 'first_n' },
    metric_list: [{ metric: 'acc' }],
  };
}

export const mmluTasks: readonly TaskInput[] = Object.values(mmluSubjects).flat().map(subjectTask);
