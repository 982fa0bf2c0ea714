/** A plan of work as a table and as JSON. */
import { formatBytes, formatCount, formatDuration } from '../../report/quantities.ts';
import type { PlannedStage, WorkPlan } from '../../training/plans/work-plan.ts';
import type { Column } from '../../report/table.ts';
import { flag } from '../framework/command.ts';
import type { CommandResult } from '../framework/io.ts';
import type { CommandContext } from '../framework/context.ts';

export const planOption = flag('print memory, disk and time of every stage, and do nothing else');

const columns: readonly Column<PlannedStage>[] = [
  { header: 'stage', value: ({ name }) => name },
  { header: 'rows × tokens', value: ({ batch, length }) => `${batch} × ${length}` },
  { header: 'tokens', value: ({ tokens }) => tokens, format: formatCount },
  { header: 'memory', value: ({ memoryBytes }) => memoryBytes, format: formatBytes },
  { header: 'disk', value: ({ diskBytes }) => diskBytes, format: formatBytes },
  { header: 'time', value: ({ seconds }) => seconds, format: formatDuration },
];

export function reportPlan(context: CommandContext, plan: WorkPlan): CommandResult {
  context.table(plan.stages, columns);
  context.print(`at most ${formatBytes(plan.memoryLimitBytes)} of memory`);
  return { json: { plan } };
}

/** Time, memory and disk of a plan, in a line. */
export function planLine({ stages }: WorkPlan): string {
  const most = (key: 'memoryBytes' | 'diskBytes') => formatBytes(Math.max(...stages.map((stage) => stage[key])));
  const times = stages.map(({ name, seconds }) => `${name} ${formatDuration(seconds)}`);
  const total = stages.reduce((sum, { seconds }) => sum + seconds, 0);
  return (
    `about ${formatDuration(total)} (${times.join(', ')}); ` +
    `${most('memoryBytes')} of memory, ${most('diskBytes')} of disk`
  );
}
