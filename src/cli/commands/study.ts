/** `linnet study NAME`: runs a study from its plan. */
import { basename, join } from 'node:path';
import type { z } from 'zod';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../files/json-object.ts';
import { readRegularFile } from '../../files/regular-file.ts';
import type { AnyStudy } from '../../studies/frame/run-study.ts';
import { planSource } from '../../studies/frame/study.ts';
import {
  type CliCommand,
  defineCommand,
  engineOptions,
  optional,
  repeated,
  withDefault,
} from '../framework/command.ts';
import { UsageError } from '../framework/exit-codes.ts';
import { called, filePath, folderPath, integer, redisUrl, text } from '../framework/option-values.ts';

/** Plans have some hundred bytes a method. */
const mostPlanBytes = 1 << 20;

/** The command of a study. */
export function studyCommand(study: AnyStudy): CliCommand {
  const { name, description, examples, plan: schema } = study.definition;
  return defineCommand({
    description:
      `${description}\n\nResults are kept in the output folder, a file a trial: stopped (Ctrl-C) or killed, the same command goes on, ` +
      `inside a trial too. At the end there are a table, report.html, charts and results.json.\n\nFields of the plan:\n${planFields(schema.shape)}`,
    examples,
    arguments: {},
    options: {
      plan: optional(filePath, 'the plan, a .json file; its paths count from its folder'),
      set: repeated(
        called('key=value', text),
        'a field of the plan, its value as JSON or a text; a.b=1 sets a field of a',
      ),
      out: optional(folderPath, 'where results go (default: runs/ and the name of the plan; without a plan, nowhere)'),
      known: optional(filePath, 'results of other runs, JSON lines; trials among them are not run again'),
      snapshotEvery: withDefault(called('steps', integer(1)), 200, 'optimizer steps between two snapshots of a trial'),
      queue: optional(redisUrl, 'lets machines with `linnet work` run the trials, one each at a time'),
      ...engineOptions,
    },
    async run(context, { plan: planFile, set, out, known, snapshotEvery, queue, device, threads }) {
      const given =
        planFile === undefined ? {} : parseJsonObject(await readRegularFile(planFile, mostPlanBytes), planFile);
      const plan = set.reduce(withField, given);
      const { text: printed, ...result } = await context.withProgress(name, 'trials', (progress) =>
        study.run(plan, planSource(planFile), {
          out: out ?? (planFile === undefined ? undefined : join('runs', basename(planFile).replace(/\.json$/i, ''))),
          ...{ known, snapshotEvery, compile: { device, threads }, signal: context.signal, command: context.command },
          queue: queue === undefined ? undefined : { url: queue, planFile: planFile ?? 'plan.json' },
          note: (line) => context.note(line),
          onProgress: (done, total, info) => progress.update(done, total, info),
        }),
      );
      context.print(printed);
      return result;
    },
  });
}

/** A plan with one field set. @throws UsageError for a setting without a key */
function withField(plan: JsonObject, setting: string): JsonObject {
  const at = setting.indexOf('=');
  if (at < 1) throw new UsageError(`--set is ${JSON.stringify(setting)}; expected key=value`);
  return setField(plan, setting.slice(0, at).split('.'), valueOf(setting.slice(at + 1)));
}

function setField(fields: JsonObject, [key, ...rest]: readonly string[], value: unknown): JsonObject {
  const before = fields[key];
  return { ...fields, [key]: rest.length === 0 ? value : setField(isJsonObject(before) ? before : {}, rest, value) };
}

function valueOf(given: string): unknown {
  try {
    return JSON.parse(given);
  } catch {
    return given;
  }
}

/** A line a field: its name, "required" or its default, and its description. */
function planFields(shape: Readonly<Record<string, z.ZodType>>): string {
  const lines = Object.entries(shape).map(([key, schema]) => {
    const absent = schema.safeParse(undefined);
    const value = absent.success ? JSON.stringify(absent.data) : undefined;
    const need = !absent.success ? ' (required)' : value === undefined || value === '{}' ? '' : ` (default: ${value})`;
    return `  ${key}${need}${schema.description === undefined ? '' : `: ${schema.description}`}`;
  });
  return lines.join('\n');
}
