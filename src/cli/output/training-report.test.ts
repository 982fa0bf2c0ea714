import { expect, it } from 'vitest';
import { planLine } from './training-report.ts';

it('the line of a plan begins with a warning where its stages take longer than the budget', () => {
  const stage = { form: 'whole' as const, batch: 1, length: 64, tokens: 64, memoryBytes: 2 ** 20, diskBytes: 0 };
  const stages = [
    { ...stage, name: 'linearize', seconds: 20 },
    { ...stage, name: 'report', seconds: 30 },
  ];
  const plan = { stages, memoryLimitBytes: 2 ** 30 };
  expect(planLine(plan, 40)).toMatch(/^longer than --budget 40\.?0* s: about 50\.?0* s \(linearize 20/);
  expect(planLine(plan, 60)).toMatch(/^about 50/);
  expect(planLine(plan)).toMatch(/^about 50/);
});
