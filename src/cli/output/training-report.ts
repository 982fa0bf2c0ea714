/** Output that the training commands share: plans of work, progress and results, for people and machines. */
import { basename } from 'node:path';
import { formatCount, formatFixed, formatShortCount, formatBytes, formatDuration } from '../../report/quantities.ts';
import type { Progress } from '../../report/progress.ts';
import type { TrainingHooks, TrainingResult } from '../../training/plans/run.ts';
import type { CommandResult, CommandContext } from '../framework/context.ts';
import { memoryLimit } from '../../training/plans/options.ts';
import type { PlannedStage, WorkPlan } from '../../training/plans/plan.ts';
import type { Column } from '../../report/table.ts';
import { flag } from '../framework/command.ts';

/**
 * Runs a plan with progress on stderr.
 * @param run starts the plan with the hooks that it is given
 * @param reported the plan's details as in the JSON output; default: the details
 */
export async function reportTraining<Details extends object>(
  context: CommandContext,
  run: (hooks: TrainingHooks) => Promise<TrainingResult<Details>>,
  reported: (details: Details) => object = (details) => details,
): Promise<CommandResult> {
  let progress: Progress | undefined;
  let steps = 0;
  let heldOut = '';
  let stepTokens = 0;
  const hooks: TrainingHooks = {
    command: context.command,
    signal: context.signal,
    onPlan({ summary, folder, microBatch, ...planned }) {
      ({ steps, stepTokens } = planned);
      context.note(
        `${summary}; ${formatCount(steps, 'optimizer step')} of ${formatCount(stepTokens)} tokens ` +
          `(micro-batches of ${formatCount(microBatch, 'row')})`,
      );
      progress = context.progress(basename(folder), 'tokens');
    },
    onStart(done) {
      if (done > 0) context.note(`continuing after optimizer step ${done}`);
      progress?.update(done * stepTokens, steps * stepTokens);
    },
    onEvaluation({ update, loss, isBest }) {
      heldOut = `, held-out ${formatFixed(loss, 4)}`;
      context.note(`step ${update}: held-out loss ${formatFixed(loss, 4)}${isBest ? ', the lowest so far' : ''}`);
    },
    onUpdate({ update, loss }) {
      const info = `step ${update}/${steps}, loss ${formatFixed(loss, 4)}${heldOut}`;
      progress?.update(update * stepTokens, steps * stepTokens, info);
      if (update === steps) progress?.finish();
    },
    onWarning(message) {
      context.note(`warning: ${message}`);
    },
    onSaved(out) {
      context.print(`saved ${out}`);
    },
  };
  try {
    const { out, run: folder, loss, heldOutLoss, best, tokensPerSecond, details, ...counts } = await run(hooks);
    if (loss !== undefined && tokensPerSecond !== undefined) {
      context.print(
        `${formatCount(counts.steps, 'optimizer step')}, loss ${formatFixed(loss, 4)} (mean of the last tenth), ` +
          `${formatShortCount(tokensPerSecond)} tokens/s`,
      );
    }
    if (heldOutLoss !== undefined) {
      const of = best === undefined ? 'the last step' : `step ${formatCount(best)}`;
      context.print(`held-out loss ${formatFixed(heldOutLoss, 4)}, with the parameters of ${of}`);
    }
    return {
      json: {
        out,
        run: folder,
        ...reported(details),
        loss: loss ?? null,
        ...(heldOutLoss === undefined ? {} : { heldOutLoss, best: best ?? null }),
        steps: counts.steps,
        tokens: counts.tokens,
        tokensPerSecond: tokensPerSecond ?? null,
        seconds: counts.seconds,
      },
    };
  } finally {
    progress?.finish();
  }
}

export const planOption = flag('print the memory, disk and time of every stage, then exit');

const columns: readonly Column<PlannedStage>[] = [
  { header: 'stage', value: 'name' },
  { header: 'rows × tokens', value: ({ batch, length }) => `${batch} × ${length}` },
  { header: 'tokens', value: 'tokens', format: formatCount },
  { header: 'memory', value: 'memoryBytes', format: formatBytes },
  { header: 'disk', value: 'diskBytes', format: formatBytes },
  { header: 'time', value: 'seconds', format: formatDuration },
];

export function reportPlan(context: CommandContext, plan: WorkPlan): CommandResult {
  if (plan.summary !== undefined) context.print(plan.summary);
  context.table(plan.stages, columns);
  return reportLimit(context, plan);
}

/** The plan of work without optimizer steps: the form of each stage, and its memory. @param limit bytes; default as `memoryLimit` */
export function reportForms(
  context: CommandContext,
  stages: readonly Pick<PlannedStage, 'name' | 'form' | 'memoryBytes'>[],
  limit = memoryLimit(undefined),
): CommandResult {
  context.table(stages, [
    { header: 'stage', value: 'name' },
    { header: 'form', value: 'form' },
    { header: 'memory', value: 'memoryBytes', format: formatBytes },
  ]);
  return reportLimit(context, { stages, memoryLimitBytes: limit });
}

/** @param plan with any kind of stages */
function reportLimit(
  context: CommandContext,
  plan: Pick<WorkPlan, 'memoryLimitBytes'> & { readonly stages: unknown },
): CommandResult {
  context.print(`at most ${formatBytes(plan.memoryLimitBytes)} of memory`);
  return { json: { plan } };
}

/**
 * Time, memory and disk of a plan, in one line that begins with a warning if the plan exceeds its budget.
 * @param budget seconds of training that were given
 */
export function planLine({ stages }: WorkPlan, budget?: number): string {
  const most = (key: 'memoryBytes' | 'diskBytes') => formatBytes(Math.max(...stages.map((stage) => stage[key])));
  const times = stages.map(({ name, seconds }) => `${name} ${formatDuration(seconds)}`);
  const total = stages.reduce((sum, { seconds }) => sum + seconds, 0);
  const late = budget !== undefined && total > budget ? `longer than --budget ${formatDuration(budget)}: ` : '';
  return (
    `${late}about ${formatDuration(total)} (${times.join(', ')}); ` +
    `${most('memoryBytes')} of memory, ${most('diskBytes')} of disk`
  );
}
