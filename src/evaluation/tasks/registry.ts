/** All built-in tasks, their groups, and their names. */
import { LinnetError } from '../../errors.ts';
import { bbhSubsets, bbhTasks, bbhVariants, instructEvalBbh } from './definitions/bbh.ts';
import { glueDefinitions } from './definitions/glue.ts';
import { instructEvalMmlu, mmluSubjects, mmluTasks } from './definitions/mmlu.ts';
import { questionTasks } from './definitions/questions.ts';
import { parseTask, type Task, type TaskInput } from './schema.ts';

const definitions = [questionTasks, glueDefinitions, mmluTasks, bbhTasks, instructEvalMmlu, instructEvalBbh].flat();

/** The built-in tasks by name. A task is checked when requested. */
const tasks: ReadonlyMap<string, TaskInput> = new Map(definitions.map((task) => [task.task, task]));

/** Tasks summed up together. */
export interface TaskGroup {
  readonly name: string;
  /** Names of tasks or groups. */
  readonly members: readonly string[];
  /** The sum's metric, with its filter: "acc,none". Undefined for a group that only stands for its members. */
  readonly metric?: string;
  /** Whether to weight tasks by their questions, which gives the mean over all questions. */
  readonly bySize: boolean;
}

/** Weighted by questions, unless told otherwise. */
const group = (name: string, metric: string, members: readonly string[], bySize = true): TaskGroup => {
  return { name, members, metric, bySize };
};

const groups: ReadonlyMap<string, TaskGroup> = new Map(
  [
    ...Object.entries(mmluSubjects).map(([name, subjects]) => {
      return group(`mmlu_${name}`, 'acc,none', prefixed('mmlu', subjects));
    }),
    group('mmlu', 'acc,none', prefixed('mmlu', Object.keys(mmluSubjects))),
    ...Object.entries(bbhVariants).map(([name, filter]) => {
      return group(name, `exact_match,${filter}`, prefixed(name, bbhSubsets));
    }),
    { name: 'glue', members: namesOf(glueDefinitions), bySize: false },
    group('instruct_eval_mmlu', 'prefix_match,none', namesOf(instructEvalMmlu)),
    group('instruct_eval_bbh', 'prefix_match,none', namesOf(instructEvalBbh), false),
  ].map((one) => [one.name, one]),
);

function prefixed(prefix: string, names: readonly string[]): string[] {
  return names.map((name) => `${prefix}_${name}`);
}

function namesOf(inputs: readonly TaskInput[]): string[] {
  return inputs.map(({ task }) => task);
}

const aliases: Readonly<Record<string, string>> = {
  bbh: 'bbh_cot_fewshot',
  ag_news: 'linnet_ag_news',
  agnews: 'linnet_ag_news',
  cnn_dailymail: 'cnn_dailymail_abisee',
  lambada: 'lambada_openai',
};

/** Conventions for asking tasks. */
export const protocols = ['harness', 'instruct-eval'] as const;
type Protocol = (typeof protocols)[number];

const replacements: Readonly<Record<Protocol, Readonly<Record<string, string>>>> = {
  harness: {},
  'instruct-eval': {
    mmlu: 'instruct_eval_mmlu',
    bbh: 'instruct_eval_bbh',
    bbh_fewshot: 'instruct_eval_bbh',
  },
};

/** Names of tasks and groups that help lists: large groups without their members. */
export function taskNames(): string[] {
  const inGroups = new Set(
    [...groups.values()].filter(({ metric }) => metric !== undefined).flatMap(({ members }) => members),
  );
  return [...tasks.keys(), ...groups.keys()].filter((name) => !inGroups.has(name) && !name.startsWith('instruct_eval'));
}

/** Tasks to run and the groups that sum them up, inner groups first. */
export interface TaskSelection {
  readonly tasks: readonly Task[];
  readonly groups: readonly TaskGroup[];
}

/**
 * The tasks that names stand for: tasks, groups and their tasks; each once, in the order of the names.
 * @throws LinnetError `INPUT` for an unknown name
 */
export function selectTasks(names: readonly string[], protocol: Protocol = 'harness'): TaskSelection {
  const chosen = new Map<string, Task>();
  const summed = new Map<string, TaskGroup>();
  const add = (name: string): void => {
    const group = groups.get(name);
    const task = tasks.get(name);
    if (group !== undefined) {
      for (const member of group.members) add(member);
      if (group.metric !== undefined) summed.set(name, group);
    } else if (task !== undefined) {
      if (!chosen.has(name)) chosen.set(name, parseTask(task, `task ${name}`));
    } else {
      throw new LinnetError(
        'INPUT',
        `unknown task or group "${name}"; expected one of ${taskNames().join(', ')}, or give a .json or .yaml file`,
      );
    }
  };
  for (const name of names) {
    const known = Object.hasOwn(replacements[protocol], name) ? replacements[protocol][name] : name;
    add(Object.hasOwn(aliases, known) ? aliases[known] : known);
  }
  return { tasks: [...chosen.values()], groups: [...summed.values()] };
}

export function tasksOf(group: TaskGroup): string[] {
  return group.members.flatMap((member) => {
    const inner = groups.get(member);
    return inner === undefined ? [member] : tasksOf(inner);
  });
}
