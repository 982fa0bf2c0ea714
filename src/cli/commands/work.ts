/** `linnet work`: takes jobs that other commands put into a queue. */
import { layerJobHandler, layerJobKind } from '../../conversion/queued-layers.ts';
import { evalTaskHandler, evalTaskKind, type ScorerDescription } from '../../evaluation/tasks/queued.ts';
import { takeJobs } from '../../jobs/queue.ts';
import { LastOpened } from '../../jobs/last-opened.ts';
import { formatCount } from '../../report/quantities.ts';
import { studyTrialKind } from '../../studies/frame/run-study.ts';
import { studyTrialHandler } from '../../studies/registry.ts';
import { defineCommand, engineOptions, required, withDefault } from '../framework/command.ts';
import { folderPath, integer, redisUrl } from '../framework/option-values.ts';
import { openTaskScorer } from '../options/task-scorer.ts';

export const work = defineCommand({
  description:
    'Takes jobs from a queue in Redis, one at a time, until it is stopped: trials of `linnet study --queue`, tasks of ' +
    '`linnet eval tasks --queue`, layers of `linnet convert --set queue=`. Run it on as many machines as there are; models, plans and data must be at the same ' +
    'paths on all. Ctrl-C or SIGTERM gives the job at hand back, and when a machine dies its job goes to another. Who ' +
    'writes into the queue decides what is read from the disks of the workers: keep that Redis to yourself.',
  examples: [
    'linnet work --queue redis://10.0.0.5:6379',
    'linnet work --queue redis://10.0.0.5:6379 --folder /shared/linnet-work --threads 8',
  ],
  arguments: {},
  options: {
    queue: required(redisUrl, 'the Redis of the queue'),
    folder: withDefault(
      folderPath,
      'runs/work',
      'where jobs keep snapshots; on a shared disk another machine goes on from them',
    ),
    lock: withDefault(
      integer(1, 86_400, 'seconds'),
      30,
      'time without a sign of life after which a job goes to another worker',
    ),
    ...engineOptions,
  },
  async run(context, { queue, folder, lock, device, threads }) {
    const compile = { device, threads };
    // The model of the tasks before this one stays open.
    await using scorers = new LastOpened<Awaited<ReturnType<typeof openTaskScorer>>>();
    const open = (described: ScorerDescription) =>
      scorers.open(JSON.stringify(described), () => openTaskScorer(described, compile));
    const handlers = {
      [studyTrialKind]: studyTrialHandler(compile),
      [evalTaskKind]: evalTaskHandler(open),
      [layerJobKind]: layerJobHandler(compile),
    };
    const done = await takeJobs(queue, handlers, {
      ...{ signal: context.signal, folder, lock },
      onReady: () => context.print('waiting for jobs'),
      onJob: (event, kind, id) => {
        context.note(`${event}: ${kind} ${id.slice(0, 12)}`);
      },
    });
    context.print(`${formatCount(done)} jobs done`);
    return { json: { done } };
  },
});
