/** BIG-Bench Hard (Suzgun et al., 2022, arXiv 2210.09261): 27 subsets, each asked in four ways. */
import type { FilterConfig } from '../filters/filter.ts';
import type { TaskInput } from '../schema.ts';

const subsets =
  'boolean_expressions causal_judgement date_understanding disambiguation_qa dyck_languages ' +
  'formal_fallacies geometric_shapes hyperbaton logical_deduction_five_objects ' +
  'logical_deduction_seven_objects logical_deduction_three_objects movie_recommendation ' +
  'multistep_arithmetic_two navigate object_counting penguins_in_a_table reasoning_about_colored_objects ' +
  'ruin_names salient_translation_error_detection snarks sports_understanding temporal_sequences ' +
  'tracking_shuffled_objects_five_objects tracking_shuffled_objects_seven_objects ' +
  'tracking_shuffled_objects_three_objects web_of_lies word_sorting';

export const bbhSubsets: readonly string[] = subsets.split(' ');

const yesOrNo: FilterConfig = { function: 'regex', regex_pattern: '\\b(Yes|No|yes|no)\\b' };
const number: FilterConfig = { function: 'number_parse', regex_pattern: '([-0-9]+)' };
const option: FilterConfig = {
  function: 'multi_choice_regex',
  regex_pattern: '(\\([A-Z]\\))',
  ignore_case: true,
  ignore_punctuation: true,
};

function meaning(no: string, yes: string): FilterConfig {
  return { function: 'map_regex', ignore_case: true, regex_pattern_to_value: { [no]: 'no', [yes]: 'yes' } };
}

/** How to find the answer in text generated without examples; by default an option's letter. */
const extraction: Readonly<Partial<Record<string, FilterConfig>>> = {
  boolean_expressions: { function: 'regex', regex_pattern: '\\b(True|False)\\b' },
  causal_judgement: yesOrNo,
  navigate: yesOrNo,
  formal_fallacies: { function: 'regex', regex_pattern: '\\b(valid|invalid)\\b' },
  dyck_languages: {
    function: 'regex',
    regex_pattern: '(?<= )([" \\[\\(<{}>\\)\\]]+)|([" \\[\\(<{}>\\)\\]]+)',
  },
  multistep_arithmetic_two: number,
  object_counting: number,
  sports_understanding: meaning('\\b(no|not plausible)\\b', '\\b(yes|plausible)\\b'),
  web_of_lies: meaning(
    '\\b(no|does not tell the truth|is not telling the truth)\\b',
    '\\b(yes|tells the truth|is telling the truth)\\b',
  ),
  word_sorting: { function: 'word_sort' },
};

/** @param which match counts */
function extract(subset: string, which: number): FilterConfig[] {
  const filter = extraction[subset] ?? option;
  const selected = filter.function === 'word_sort' ? filter : { ...filter, group_select: which };
  return [selected, { function: 'take_first' }];
}

const announced =
  '((?<=The answer is )(.*)(?=.)|(?<=the answer is )(.*)(?=.)|' +
  '(?<=The answer: )(.*)(?=.)|(?<=The final answer: )(.*)(?=.))';

const lenient = { ignore_case: true, regexes_to_ignore: ['\\.$', ',', '\\\\', '\n', '"'] };
const fewShotStops = ['</s>', 'Q', '\n\n'];
const zeroShotStops = ['</s>', 'Q:', '<|im_end|>'];

/** Fields that one way of asking adds to the subset's task. */
type Variant = Omit<TaskInput, 'task' | keyof ReturnType<typeof subsetTask>>;

const fewShot = (subset: string): Variant => ({
  prompt_file: { reader: 'bbh', subset, answers: 'final' },
  doc_to_text: 'Q: {{input}}\nA:',
  num_fewshot: 3,
  fewshot_config: { sampler: 'first_n' },
  generation_kwargs: { until: fewShotStops, do_sample: false, temperature: 0 },
  metric_list: [{ metric: 'exact_match' }],
  metadata: { version: 2 },
});

const zeroShot = (subset: string): Variant => ({
  prompt_file: { reader: 'bbh', subset, answers: 'final' },
  doc_to_text: 'Q: {{input}}\nA:',
  num_fewshot: 0,
  generation_kwargs: { until: zeroShotStops, do_sample: false, temperature: 0 },
  filter_list: [
    { name: 'strict-match', filter: [{ function: 'take_first' }] },
    { name: 'flexible-extract', filter: extract(subset, 0) },
  ],
  metric_list: [{ metric: 'exact_match', ...lenient }],
  metadata: { version: 3 },
});

const variants: Readonly<Record<string, (subset: string) => Variant>> = {
  // The pattern drops a character after the answer, usually the full stop.
  bbh_cot_fewshot: (subset) => ({
    ...fewShot(subset),
    prompt_file: { reader: 'bbh', subset, answers: 'chain' },
    doc_to_text: "Q: {{input}}\nA: Let's think step by step.\n",
    target_delimiter: '',
    generation_kwargs: { max_gen_toks: 1024, until: fewShotStops, do_sample: false, temperature: 0 },
    filter_list: [
      {
        name: 'get-answer',
        filter: [{ function: 'regex', regex_pattern: '(?<=the answer is )(.*)(?=.)' }, { function: 'take_first' }],
      },
    ],
    metadata: { version: 4 },
  }),
  bbh_fewshot: fewShot,
  // Byte-level tokenizers answer " No" where the target is "No": the same task, ignoring white space.
  bbh_fewshot_strip: (subset) => ({
    ...fewShot(subset),
    filter_list: [{ name: 'strip', filter: [{ function: 'strip' }] }],
  }),
  bbh_zeroshot: zeroShot,
  bbh_cot_zeroshot: (subset) => ({
    ...zeroShot(subset),
    prompt_file: { reader: 'bbh', subset, answers: 'chain' },
    doc_to_text: "Q: {{input}}\nA: Let's think step by step.",
    filter_list: [
      { name: 'flexible-extract', filter: extract(subset, -1) },
      { name: 'strict-match', filter: [{ function: 'regex', regex_pattern: announced }, { function: 'take_first' }] },
    ],
  }),
};
/** The ways of asking, and the filter that judges each as a group. */
export const bbhVariants: Readonly<Record<string, string>> = {
  bbh_cot_fewshot: 'get-answer',
  bbh_fewshot: 'none',
  bbh_fewshot_strip: 'strip',
  bbh_cot_zeroshot: 'flexible-extract',
  bbh_zeroshot: 'flexible-extract',
};

function subsetTask(subset: string) {
  return {
    dataset_path: 'SaylorTwift/bbh',
    dataset_name: subset,
    folder: 'bbh',
    output_type: 'generate_until',
    test_split: 'test',
    columns: { input: 'text', target: 'text' },
    doc_to_target: '{{target}}',
  } satisfies Partial<TaskInput>;
}

export const bbhTasks: readonly TaskInput[] = Object.entries(variants).flatMap(([name, variant]) =>
  bbhSubsets.map((subset) => ({ ...subsetTask(subset), ...variant(subset), task: `${name}_${subset}` })),
);

/** InstructEval's way, with 3 examples: greedy answers to the remaining rows, which must begin with the right answer. */
export const instructEvalBbh: readonly TaskInput[] = bbhSubsets.map((subset) => ({
  ...subsetTask(subset),
  task: `instruct_eval_bbh_${subset}`,
  fewshot_split: 'test',
  skip_rows: 3,
  doc_to_text: '{{input}}\nAnswer:',
  num_fewshot: 3,
  fewshot_config: { sampler: 'first_n' },
  generation_kwargs: { do_sample: false, temperature: 0, max_gen_toks: 32, until: [] },
  metric_list: [{ metric: 'prefix_match' }],
}));
