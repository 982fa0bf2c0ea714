/** `linnet study NAME`: runs a study from its plan. */
import { basename, join } from 'node:path';
import { parseJsonObject } from '../../files/json-object.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import type { AnyStudy } from '../../studies/frame/run-study.ts';
import { planSource } from '../../studies/frame/study.ts';
import {
  type CliCommand,
  defineCommand,
  engineOptions,
  optional,
  withDefault,
  settings,
} from '../framework/command.ts';
import { withField } from '../framework/settings.ts';
import { called, filePath, folderPath, integer, redisUrl } from '../framework/option-values.ts';
import { memoryOption } from '../options/memory-option.ts';
import { requireOpeningMemory } from '../options/opening-memory.ts';
import { shareFolder, storeOptions } from '../options/store-options.ts';

/** Plans have some hundred bytes a method. */
const mostPlanBytes = 1 << 20;

export function studyCommand(study: AnyStudy): CliCommand {
  const { name, description, examples, plan: schema } = study.definition;
  const shapes = 'shape' in schema ? [schema] : schema.options;
  return defineCommand({
    description:
      `${description}\n\nKeeps each trial's result in a file of the output folder: after Ctrl-C or a crash, the same command continues, ` +
      `even within a trial. Finally writes a table, report.html, charts and results.json.`,
    examples,
    arguments: {},
    options: {
      plan: optional(filePath, 'the plan, a .json file; its paths are relative to its folder'),
      out: optional(folderPath, "folder for results (default: runs/ and the plan's name; none without a plan)"),
      queue: optional(redisUrl, 'let machines running `linnet work` run the trials, one each at a time'),
      memory: memoryOption,
      ...engineOptions,
      ...storeOptions,
      ...settings({
        known: optional(filePath, 'results of other runs, JSON lines; skip the trials among them'),
        snapshotEvery: withDefault(called('steps', integer(1)), 200, 'optimizer steps between snapshots of a trial'),
      }),
    },
    fields: Object.fromEntries(shapes.toReversed().flatMap(({ shape }) => Object.entries(shape))),
    async run(
      context,
      { plan: planFile, out, known, snapshotEvery, queue, store, index, memory, device, threads },
      set,
    ) {
      const given =
        planFile === undefined ? {} : parseJsonObject(await readRegularFile(planFile, mostPlanBytes), planFile);
      const folder =
        out ?? (planFile === undefined ? undefined : join('runs', basename(planFile).replace(/\.json$/i, '')));
      const { text: printed, ...result } = await context.withProgress(name, 'trials', (hooks) =>
        study.run(
          set.reduce(withField, given),
          planSource(planFile, (model) => requireOpeningMemory(model, { memory })),
          {
            out: folder === undefined ? undefined : shareFolder(folder, index),
            resultStore: store,
            share: index,
            known,
            snapshotEvery,
            memory,
            compile: { device, threads },
            command: context.command,
            queue: queue === undefined ? undefined : { url: queue, planFile: planFile ?? 'plan.json' },
            note: (line) => context.note(line),
            ...hooks,
          },
        ),
      );
      context.print(printed);
      return result;
    },
  });
}
