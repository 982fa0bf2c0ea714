/** One round of many texts: the plans of all of them in one step of the engine. */
import type { StepEngine, StepOutput, StepRequest } from '../decoding/step-engine.ts';
import type { RunningText } from './running-text.ts';
import type { TokensEvent } from './text-job.ts';

/**
 * Lets every text plan, runs all plans in one step, and lets every text conclude. Texts may differ in everything: method,
 * drafter, tree, length, sampler.
 *
 * A fault stays with the text it belongs to. Where the common step fails, each text's part is run by itself, which a step
 * allows, since it changes no state.
 *
 * @returns per text, in order, the tokens of the round, or the error that ends it
 */
export async function decodeRound(
  engine: StepEngine,
  texts: readonly RunningText[],
): Promise<PromiseSettledResult<TokensEvent>[]> {
  if (texts.length === 1) return Promise.allSettled([roundOf(engine, texts[0])]);
  const plans = await Promise.allSettled(texts.map(async (text) => text.plan()));
  const outputs = await runPlans(engine, plans);
  return Promise.allSettled(
    texts.map(async (text, index) => {
      const output = outputs[index];
      if (output.status === 'rejected') throw output.reason;
      return text.conclude(output.value);
    }),
  );
}

async function roundOf(engine: StepEngine, text: RunningText): Promise<TokensEvent> {
  const requests = await text.plan();
  return text.conclude(requests.length === 0 ? [] : await engine.step(requests));
}

type Plan = PromiseSettledResult<readonly StepRequest[]>;
type PlanOutputs = PromiseSettledResult<readonly StepOutput[]>;

/** The model's outputs for every plan; a plan that failed stays failed. */
async function runPlans(engine: StepEngine, plans: readonly Plan[]): Promise<PlanOutputs[]> {
  const requests = plans.map((plan) => (plan.status === 'fulfilled' ? plan.value : []));
  const all = requests.flat();
  try {
    const outputs = all.length === 0 ? [] : await engine.step(all);
    let taken = 0;
    return plans.map((plan, index) => {
      if (plan.status === 'rejected') return plan;
      const value = outputs.slice(taken, (taken += requests[index].length));
      return { status: 'fulfilled', value };
    });
  } catch {
    return Promise.allSettled(
      plans.map(async (plan, index) => {
        if (plan.status === 'rejected') throw plan.reason;
        return requests[index].length === 0 ? [] : engine.step(requests[index]);
      }),
    );
  }
}
