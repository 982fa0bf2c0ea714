/** `linnet work`: takes jobs that other commands put into a queue. */
import { z } from 'zod';
import { OptionsError } from '../../errors.ts';
import { parseJsonObject } from '../../files/json-object.ts';
import { validated } from '../../files/schema-problems.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import { layerJobHandler, layerJobKind } from '../../conversion/remote-layers.ts';
import { evalTaskHandler, evalTaskKind } from '../../evaluation/tasks/queued.ts';
import { takeJobs } from '../../jobs/queue.ts';
import type { Share } from '../../jobs/result-store.ts';
import { LastOpened } from '../../jobs/last-opened.ts';
import { formatCount } from '../../report/quantities.ts';
import type { CompileOptions } from '../../runtime/compile.ts';
import { studyTrialKind } from '../../studies/frame/run-study.ts';
import { studyTrialHandler } from '../../studies/registry.ts';
import { memoryLimit } from '../../training/plans/options.ts';
import { defineCommand, engineOptions, optional, withDefault } from '../framework/command.ts';
import type { CommandContext, CommandResult } from '../framework/context.ts';
import { filePath, folderPath, integer, redisUrl } from '../framework/option-values.ts';
import { memoryOption } from '../options/memory-option.ts';
import { requireOpeningMemory } from '../options/opening-memory.ts';
import { shareOfWork, storePlace } from '../options/store-options.ts';
import { openTaskScorer, planTaskScorer } from '../options/task-scorer.ts';

export const work = defineCommand({
  description:
    'Takes jobs from a queue in Redis, one at a time, until it is stopped: trials of `linnet study --queue`, tasks of `linnet eval tasks --queue`, ' +
    'layers of `linnet convert --queue`. Run it on as many machines as you like; models, plans and data must have the same paths on all. Ctrl-C or ' +
    'SIGTERM returns the current job, and if a machine dies, another takes its job. Anyone who can write to the queue decides what workers read from ' +
    'their disks: keep that Redis private.\n\nWithout a queue, it does its part of a plan, the command line of a study or conversion (`convert --plan ' +
    '--json` prints one): results go into a store that all machines reach, and finished jobs are skipped, so a killed worker is simply started again. ' +
    'When all parts are done, gather them with the same command without --index, or with the planned command and --store.',
  examples: [
    'linnet work --queue redis://10.0.0.5:6379',
    'linnet work --queue redis://10.0.0.5:6379 --folder /shared/linnet-work --threads 8',
    'linnet work --plan-file plan.json --index 0/3 --store s3://bucket/smol',
    'linnet work --plan-file plan.json --store s3://bucket/smol',
  ],
  arguments: {},
  options: {
    queue: optional(redisUrl, "address of the queue's Redis"),
    planFile: optional(filePath, 'instead of a queue: a JSON file, {"command": ["convert", "models/smol", …]}'),
    index: optional(
      shareOfWork,
      'with --plan-file: the part to do, such as 0/3 (default: all, then gather the results)',
    ),
    store: optional(storePlace, 'with --plan-file: place for results, a folder or s3://bucket/prefix'),
    folder: withDefault(folderPath, 'runs/work', 'folder for snapshots; if shared, other workers continue from them'),
    lock: withDefault(integer(1, 86_400, 'seconds'), 30, "time after which a silent worker's job goes to another"),
    memory: memoryOption,
    ...engineOptions,
  },
  async run(context, { queue, planFile, index, store, folder, lock, memory, device, threads }) {
    const compile = { device, threads };
    if (planFile !== undefined && queue === undefined)
      return runPart(context, planFile, { index, store, memory, ...compile });
    if (queue === undefined || planFile !== undefined) throw new OptionsError('give either `queue` or `planFile`');
    if (index !== undefined || store !== undefined) throw new OptionsError('`index` and `store` need `planFile`');
    // The model of the tasks before this one stays open.
    await using scorers = new LastOpened<Awaited<ReturnType<typeof openTaskScorer>>>();
    // Before a model takes memory.
    const limit = memory ?? memoryLimit(undefined);
    const handlers = {
      [studyTrialKind]: studyTrialHandler({
        compile,
        memory: limit,
        check: (model) => requireOpeningMemory(model, { memory: limit }),
      }),
      [evalTaskKind]: evalTaskHandler(async (described, read) => {
        const { form } = await planTaskScorer(described, { read, memory: limit });
        return await scorers.open(JSON.stringify([form, described]), () => openTaskScorer(described, compile, form));
      }),
      [layerJobKind]: layerJobHandler(compile, limit),
    };
    const done = await takeJobs(queue, handlers, {
      signal: context.signal,
      folder,
      lock,
      onReady: () => context.print('waiting for jobs'),
      onJob: (event, kind, id) => {
        context.note(`${event}: ${kind} ${id.slice(0, 12)}`);
      },
    });
    context.print(`finished ${formatCount(done)} jobs`);
    return { json: { done } };
  },
});

const planSchema = z.looseObject({ command: z.tuple([z.enum(['convert', 'study'])], z.string().max(4096)) });
const mostPlanBytes = 1 << 20;

/** Runs the command line of a plan with a store, and with the part if it is not the whole. */
async function runPart(
  context: CommandContext,
  planFile: string,
  {
    index,
    store,
    memory,
    device = 'cpu',
    threads,
  }: CompileOptions & { readonly index?: Share; readonly store?: string; readonly memory?: number },
): Promise<CommandResult> {
  if (store === undefined) throw new OptionsError('`planFile` needs `store`, which all machines reach');
  const file = parseJsonObject(await readRegularFile(planFile, mostPlanBytes), planFile);
  const { command } = validated(planSchema, file, 'FORMAT', `${planFile} is not a plan`);
  const words = [...command, '--store', store];
  if (index !== undefined) words.push('--index', `${index.index}/${index.count}`);
  if (memory !== undefined) words.push('--memory', `${memory}B`);
  if (device !== 'cpu') words.push('--device', device);
  if (threads !== undefined) words.push('--threads', String(threads));
  return context.run(words);
}
