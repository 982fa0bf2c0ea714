import { expect, it } from 'vitest';
import { glueTasks } from './glue.ts';

it('tasks of GLUE have columns, words of labels and measures of their own, and the rows of eval tasks', () => {
  const task = (name: string) => glueTasks.find((one) => one.name === name);
  expect(glueTasks).toHaveLength(10);
  for (const { name, words, measures, source, label } of glueTasks) {
    expect(words === undefined).toBe(name === 'stsb');
    expect(measures.every((measure) => typeof measure === 'string')).toBe(true);
    expect(source).toMatchObject({ dataset_path: 'nyu-mll/glue', folder: `glue_${name.split('_')[0]}` });
    expect(label).toBe('label');
  }
  expect(task('mrpc')).toMatchObject({ columns: ['sentence1', 'sentence2'], measures: ['accuracy', 'f1'] });
  expect(task('cola')).toMatchObject({ columns: ['sentence'], measures: ['matthews'], validation: 'validation' });
  expect(task('mnli_mismatched')).toMatchObject({
    columns: ['premise', 'hypothesis'],
    words: ['entailment', 'neutral', 'contradiction'],
    validation: 'validation_mismatched',
    source: { task: 'mnli_mismatched', dataset_name: 'mnli' },
  });
});
